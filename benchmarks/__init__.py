"""Speed and scale of hmopt beside other programs: `python -m benchmarks` measures every row.

Most rows are ratios within one run, since seconds of a shared machine mean little. Each module
declares its own rows:

- `oracle`: evaluations a second against a loop over trials with VoxelMorph's modules; the
  hypernetwork's share of the time; the cost of 139 labels.
- `search`: λ* of the cohort, every label and every subject against one search for each subject or
  scope.
- `network`: operations a second of the U-Net against what the processor can do (`benchmarks.peak`).
- `memory`: peak memory of a sweep with 1,000 subjects against 10.
- `samplers`: settings per pair that a search needs; also compares samplers (`samplers.md`).
- `spending`: no rows; what adaptive spending of pairs costs and misses (`spending.md`).
- `one_field`: no rows; the share of the gain of structures that one field has, by maps and smoothing.
- `training`: a training step against VoxelMorph's modules, and of a hypermorph against a network's.
- `losses`: local normalized cross-correlation against MONAI's and neurite's.
- `refinement`: an evaluation of loss and gradient against a loop over Adam with VoxelMorph's modules.
- `refined_pair`: a refined registration against SyNCC of ANTs; a long row.
- `volumes`: a full-size pair against VoxelMorph; its seconds and its memory.
- `scale`: λ* of 1,000 scopes against Optuna studies in memory; writing studies to SQLite; import
  time.
- `workers`: a search with two workers against one; a long row.

`growth` draws time and memory against subjects, labels, voxels and studies. How a row is declared:
`benchmarks.rows`.
"""
