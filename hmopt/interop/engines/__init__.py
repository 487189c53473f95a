"""Registration programs behind an oracle: adaptors, commands, functions, and the processes that they run in.

An engine is named in `[model]` in one of three ways: a Python function (`callable`), a command
(`command`), or a program with an adaptor (`engine`). `EngineSource` is what the declaration says
of it, and makes a `LoadedEngine`, which registers two prepared images. It does so in processes of
its own (`EngineProcesses`), so that an engine that crashes or hangs ends nothing else.

Nothing here needs torch, except the programs that do.
"""
