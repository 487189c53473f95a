// The page of `hmopt tune`, and the view of its notebook widget.
//
// start(root, ask) builds everything inside an element. `ask(kind, content)` takes a question to the
// server, or to Python by messages of the notebook, and returns its answer. Names of labels, images and
// scopes are only ever set as text, never as HTML.

const PANELS = {
  moving: "Moving",
  fixed: "Fixed",
  moved: "Moved",
  deformation: "Deformation",
  folding: "Folding",
};
const COLOURS = { own: "#58b4ff", reference: "#ffb000", grid: "#7ad3b0" };
const FOLDS = [255, 59, 212], SHRINKS = [61, 126, 219], EXPANDS = [232, 163, 61], KEEPS = [38, 42, 48];
const MOST_PIXELS = 600; // of the longer side of a picture
const GRID_LINES = 24; // lines of the deformation along the longer side, about
const REST_MS = 140; // after which a slider rests: then a large grid is computed exactly
const SPOKEN_MS = 500; // after which a screen reader is told
const TYPES = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };

// ---------------------------------------------------------------- elements

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function drawing(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

let names = 0;
function newName() {
  names += 1;
  return `hmopt-${names}`;
}

// ---------------------------------------------------------------- answers

// The header tells where in the body the arrays of each plane begin.
export function decoded(header, buffer, start) {
  const planes = header.planes.map((plane) => {
    const arrays = {};
    for (const [name, place] of Object.entries(plane.arrays)) {
      const length = place.shape.reduce((product, size) => product * size, 1);
      arrays[name] = new TYPES[place.dtype](buffer, start + place.offset, length);
    }
    const [width, height] = plane.arrays.moving.shape;
    return { axis: plane.axis, index: plane.index, width, height, arrays };
  });
  return { ...header, planes };
}

// Runs `work` for the latest state alone: while it runs, further calls leave one that waits.
function latestOnly(work) {
  let running = false;
  let waiting = false;
  return async function again() {
    if (running) {
      waiting = true;
      return;
    }
    running = true;
    do {
      waiting = false;
      await work();
    } while (waiting);
    running = false;
  };
}

// ---------------------------------------------------------------- pictures

// Arrays are (first axis, second axis): the first goes to the right, the second upwards. `colour` returns
// red, green, blue and alpha of a place in one number, the first in the lowest byte.
function picture(plane, colour) {
  const { width, height } = plane;
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let x = 0; x < width; x += 1) {
    for (let y = 0; y < height; y += 1) pixels[(height - 1 - y) * width + x] = colour(x * height + y);
  }
  return image;
}

function packed(red, green, blue) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function greys(values, share = 1) {
  return (place) => {
    const grey = Math.round(share * values[place]);
    return packed(grey, grey, grey);
  };
}

// Colours of log2 of the determinant from -2 to 2, in steps of 1/32.
const VOLUME_COLOURS = Array.from({ length: 129 }, (_, place) => {
  const share = (place - 64) / 64;
  const towards = share < 0 ? SHRINKS : EXPANDS;
  return packed(...KEEPS.map((keeps, channel) => keeps + Math.abs(share) * (towards[channel] - keeps)));
});
const FOLD_COLOUR = packed(...FOLDS);
const UNKNOWN_COLOUR = packed(0, 0, 0);

// Determinant 1 keeps the volume of a voxel, 1/4 and less is the full blue, 4 and more the full orange.
function volumes(determinants) {
  return (place) => {
    const determinant = determinants[place];
    if (determinant > 0) {
      const octaves = Math.max(-2, Math.min(2, Math.log2(determinant)));
      return VOLUME_COLOURS[Math.round(32 * octaves) + 64];
    }
    return determinant <= 0 ? FOLD_COLOUR : UNKNOWN_COLOUR; // at the border it is not known
  };
}

// Lines between voxels of which one is of the shown label and the other is not, or of another one. Runs of
// voxels are one line.
function outline(labels, plane, shown) {
  const { width, height } = plane;
  const rows = height + 2;
  // with a border of background: no voxel lacks a neighbour
  const kinds = new Uint16Array((width + 2) * rows);
  for (let x = 0; x < width; x += 1) {
    for (let y = 0; y < height; y += 1) {
      const label = labels[x * height + y];
      kinds[(x + 1) * rows + y + 1] = shown === 0 ? label : Number(label === shown);
    }
  }
  const path = new Path2D();
  for (let x = 0; x <= width; x += 1) { // upright lines, left of voxel x
    let first = -1;
    for (let y = 0; y <= height; y += 1) {
      const at = (x + 1) * rows + y + 1;
      const differs = y < height && kinds[at] !== kinds[at - rows];
      if (differs && first < 0) first = y;
      if (!differs && first >= 0) {
        path.moveTo(x, height - first);
        path.lineTo(x, height - y);
        first = -1;
      }
    }
  }
  for (let y = 0; y <= height; y += 1) { // level lines, below voxel y
    let first = -1;
    for (let x = 0; x <= width; x += 1) {
      const at = (x + 1) * rows + y + 1;
      const differs = x < width && kinds[at] !== kinds[at - 1];
      if (differs && first < 0) first = x;
      if (!differs && first >= 0) {
        path.moveTo(first, height - y);
        path.lineTo(x, height - y);
        first = -1;
      }
    }
  }
  return path;
}

// Lines of the fixed grid at their place in the moving image.
function deformedGrid(displacement, plane) {
  const { width, height } = plane;
  const size = width * height;
  const step = Math.max(2, Math.round(Math.max(width, height) / GRID_LINES));
  const path = new Path2D();
  const follow = (x, y, first) => {
    const place = x * height + y;
    const right = x + 0.5 + displacement[place];
    const down = height - 0.5 - y - displacement[size + place];
    if (first) path.moveTo(right, down);
    else path.lineTo(right, down);
  };
  for (let x = 0; x < width; x += step) {
    for (let y = 0; y < height; y += 1) follow(x, y, y === 0);
  }
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += 1) follow(x, y, x === 0);
  }
  return path;
}

function stroke(context, path, colour, pixels, scale) {
  context.strokeStyle = colour;
  context.lineWidth = pixels / scale;
  context.stroke(path);
}

const scratch = document.createElement("canvas");

const BACKGROUNDS = {
  moving: (arrays) => greys(arrays.moving),
  fixed: (arrays) => greys(arrays.fixed),
  moved: (arrays) => greys(arrays.moved),
  deformation: (arrays) => greys(arrays.moving, 0.6),
  folding: (arrays) => volumes(arrays.determinant),
};

// `side` is the length of the longer side, in pixels; `fixedOutline` that of the fixed labels, or null.
function paint(canvas, plane, name, shown, spacing, side, fixedOutline) {
  const [right, up] = spacing;
  const scale = side / Math.max(plane.width * right, plane.height * up);
  const width = Math.round(plane.width * right * scale);
  const height = Math.round(plane.height * up * scale);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const { arrays } = plane;
  if (scratch.width !== plane.width || scratch.height !== plane.height) {
    scratch.width = plane.width;
    scratch.height = plane.height;
  }
  scratch.getContext("2d").putImageData(picture(plane, BACKGROUNDS[name](arrays)), 0, 0);
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.imageSmoothingEnabled = name !== "folding";
  context.drawImage(scratch, 0, 0, width, height);
  context.setTransform(width / plane.width, 0, 0, height / plane.height, 0, 0);
  const each = width / plane.width;
  if (name === "deformation") {
    stroke(context, deformedGrid(arrays.displacement, plane), COLOURS.grid, 1.1, each);
    return;
  }
  if (name === "folding" || shown === null) return;
  if (fixedOutline) stroke(context, fixedOutline, COLOURS.reference, 1.4, each);
  const own = { moving: arrays.moving_labels, moved: arrays.moved_labels }[name];
  if (own) stroke(context, outline(own, plane, shown), COLOURS.own, 1.4, each);
}

// ---------------------------------------------------------------- curves

const PLOT = { width: 260, height: 150, left: 38, right: 8, top: 8, bottom: 30 };

// Draws one response; returns its figure, and a function that moves its cursor.
function responseFigure(curve, control, metric, choose) {
  const response = curve.responses[control.name];
  const lattice = control.values;
  const share = control.ordered ? numericShare(control) : (place) => place / Math.max(1, lattice.length - 1);
  const x = (value) => PLOT.left + share(value) * (PLOT.width - PLOT.left - PLOT.right);
  const ends = [...response.means, ...response.low, ...response.high].filter((one) => one !== null);
  let low = Math.min(...ends), high = Math.max(...ends);
  if (high - low < 1e-9) [low, high] = [low - 0.01, high + 0.01];
  const y = (mean) => PLOT.top + ((high - mean) / (high - low)) * (PLOT.height - PLOT.top - PLOT.bottom);
  const bottom = PLOT.height - PLOT.bottom;

  const svg = drawing("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, role: "img" });
  svg.append(
    drawing("line", { class: "axis", x1: PLOT.left, x2: PLOT.width - PLOT.right, y1: bottom, y2: bottom }),
    drawing("line", { class: "axis", x1: PLOT.left, x2: PLOT.left, y1: PLOT.top, y2: bottom }),
    text(PLOT.left - 4, PLOT.top + 8, "end", high.toFixed(3)),
    text(PLOT.left - 4, bottom, "end", low.toFixed(3)),
    text(PLOT.left, PLOT.height - 4, "start", control.texts[0]),
    text(PLOT.width - PLOT.right, PLOT.height - 4, "end", control.texts.at(-1)),
    text((PLOT.left + PLOT.width) / 2, PLOT.height - 4, "middle", control.symbol),
  );
  const known = response.values.map((_, place) => place).filter((place) => response.low[place] !== null);
  if (known.length && control.ordered) {
    const upper = known.map((place) => `${x(response.values[place])},${y(response.high[place])}`);
    const lower = known.map((place) => `${x(response.values[place])},${y(response.low[place])}`).reverse();
    svg.append(drawing("polygon", { class: "band", points: [...upper, ...lower].join(" ") }));
  }
  if (response.interval) {
    const [first, last] = response.interval;
    svg.append(drawing("line", { class: "set", x1: x(first), x2: x(last), y1: bottom + 5, y2: bottom + 5 }));
  }
  for (const choice of response.among ?? []) {
    const middle = x(lattice.indexOf(choice));
    svg.append(drawing("line", { class: "set", x1: middle - 5, x2: middle + 5, y1: bottom + 5, y2: bottom + 5 }));
  }
  const points = response.values.map((value, place) => [x(value), y(response.means[place])]);
  if (control.ordered) svg.append(drawing("polyline", { class: "mean", points: points.join(" ") }));
  for (const [cx, cy] of points) svg.append(drawing("circle", { class: "point", cx, cy, r: 1.8 }));
  if (response.best !== null) {
    const best = control.ordered ? response.best : lattice.indexOf(response.best);
    svg.append(drawing("circle", { class: "best", cx: x(best), cy: y(at(response, best)), r: 4.5 }));
  }
  const cursor = drawing("line", { class: "cursor", y1: PLOT.top, y2: bottom });
  const here = drawing("circle", { class: "here", r: 3.5 });
  svg.append(cursor, here);

  const best = response.best === null ? "inactive" : textOf(control, response.best);
  const set = confidenceText(response, control);
  svg.setAttribute("aria-label", `${curve.title}: ${metric} by ${control.symbol}. Best ${best}, ${set}.`);
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    const across = ((event.clientX - box.left) / box.width) * PLOT.width;
    const wanted = (across - PLOT.left) / (PLOT.width - PLOT.left - PLOT.right);
    choose(nearestPlace(control, share, wanted));
  });
  const now = element("span");
  const caption = element(
    "figcaption", {}, element("b", { textContent: curve.title }), ` ${control.symbol}* ${best}, ${set}. `, now,
  );
  const move = (place) => {
    const value = control.ordered ? lattice[place] : place;
    const isActive = place !== null;
    cursor.style.display = here.style.display = isActive ? "" : "none";
    if (!isActive) return;
    const mean = at(response, value);
    cursor.setAttribute("x1", x(value));
    cursor.setAttribute("x2", x(value));
    here.style.display = mean === null ? "none" : "";
    if (mean !== null) {
      here.setAttribute("cx", x(value));
      here.setAttribute("cy", y(mean));
    }
    now.textContent = mean === null ? "" : `At ${control.texts[place]}: ${mean.toFixed(3)}.`;
  };
  return { figure: element("figure", {}, svg, caption), move };
}

function text(x, y, anchor, content) {
  const made = drawing("text", { x, y, "text-anchor": anchor });
  made.textContent = content;
  return made;
}

function textOf(control, value) {
  const place = control.values.indexOf(value);
  return place >= 0 ? control.texts[place] : shortNumber(value);
}

function shortNumber(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);
}

function confidenceText(response, control) {
  if (response.interval) {
    const [first, last] = response.interval.map((end) => textOf(control, end));
    return `95 % interval ${first} to ${last}`;
  }
  if (response.among?.length) return `95 % confidence set ${response.among.map(String).join(", ")}`;
  return "too few subjects for an interval";
}

// The mean score at a value, linear between those that were measured; null outside of them.
function at(response, value) {
  const { values, means } = response;
  for (let place = 0; place < values.length; place += 1) {
    if (values[place] === value) return means[place];
    if (place > 0 && values[place - 1] < value && value < values[place]) {
      const share = (value - values[place - 1]) / (values[place] - values[place - 1]);
      return (1 - share) * means[place - 1] + share * means[place];
    }
  }
  return null;
}

function numericShare(control) {
  const low = control.values[0], high = control.values.at(-1);
  if (control.logarithmic) return (value) => Math.log(value / low) / Math.log(high / low);
  return (value) => (value - low) / (high - low);
}

function nearestPlace(control, share, wanted) {
  let nearest = 0, distance = Infinity;
  control.values.forEach((value, place) => {
    const apart = Math.abs(share(control.ordered ? value : place) - wanted);
    if (apart < distance) [nearest, distance] = [place, apart];
  });
  return nearest;
}

// ---------------------------------------------------------------- the page

export async function start(root, ask) {
  const failure = element("p", { className: "error", hidden: true, role: "alert" });
  const tell = (error) => {
    failure.hidden = !error;
    failure.textContent = error ? error.message : "";
  };
  let facts;
  try {
    facts = (await ask("facts")).content;
  } catch (error) {
    tell(error);
    root.replaceChildren(failure);
    return;
  }
  document.title = root.id === "hmopt-tuner" ? `${facts.name} – hmopt tune` : document.title;
  const controls = facts.hyperparameters;
  const state = { places: {}, pair: 0, voxel: null, shown: 0, wanted: 0, side: MOST_PIXELS };
  for (const control of controls) {
    const value = control.name in facts.start ? facts.start[control.name] : control.default;
    state.places[control.name] = placeOf(control, value);
  }
  let answer = null;

  // --- values

  function isActive(control) {
    return control.only_if.every(([name, allowed]) => {
      const other = controls.find((one) => one.name === name);
      return isActive(other) && allowed.includes(other.values[state.places[name]]);
    });
  }

  function setting() {
    const values = {};
    for (const control of controls) {
      if (isActive(control)) values[control.name] = control.values[state.places[control.name]];
    }
    return values;
  }

  function setPlace(control, place) {
    state.places[control.name] = place;
    changed();
  }

  function setSetting(values) {
    for (const control of controls) {
      if (control.name in values) state.places[control.name] = placeOf(control, values[control.name]);
    }
    changed();
  }

  // --- controls

  const form = element("form", { className: "controls", "aria-label": "Setting and pair" });
  form.addEventListener("submit", (event) => event.preventDefault());
  const inputs = controls.map((control) => {
    const id = newName();
    const value = element("output", { htmlFor: id });
    const isSlider = control.ordered && control.values.length > 1;
    let input;
    if (isSlider) {
      input = element("input", { type: "range", id, min: 0, max: control.values.length - 1, step: 1 });
      input.addEventListener("input", () => setPlace(control, input.valueAsNumber));
    } else {
      const options = control.texts.map((name, place) => element("option", { value: place, textContent: name }));
      input = element("select", { id }, ...options);
      input.addEventListener("change", () => setPlace(control, Number(input.value)));
    }
    const title = control.symbol === control.name.replaceAll("_", " ") ? control.symbol
      : `${control.symbol}, ${control.name.replaceAll("_", " ")}`;
    const label = element("label", { htmlFor: id }, `${title}: `, value);
    const box = element("div", { className: "control wide" }, label, input);
    form.append(box);
    const show = () => {
      const place = state.places[control.name];
      box.hidden = !isActive(control);
      input.value = place;
      value.textContent = control.texts[place];
      if (isSlider) input.setAttribute("aria-valuetext", `${control.symbol} ${control.texts[place]}`);
    };
    return { control, show };
  });

  const pairs = selection("Pair", facts.pairs, (place) => {
    state.pair = place;
    state.voxel = null;
    changed();
  });
  const outlines = ["all structures", ...facts.labels, "none"];
  const labels = selection("Outlines", outlines, (place) => {
    state.shown = place > facts.labels.length ? null : place;
    if (answer) draw(answer);
  });
  form.append(pairs);
  if (facts.labels.length) form.append(labels);

  function selection(title, options, choose) {
    const id = newName();
    const items = options.map((name, place) => element("option", { value: place, textContent: name }));
    const select = element("select", { id }, ...items);
    select.addEventListener("change", () => choose(Number(select.value)));
    return element("div", { className: "control" }, element("label", { htmlFor: id, textContent: title }), select);
  }

  // --- pictures

  const isVolume = facts.shape.length === 3;
  const order = isVolume ? [2, 1, 0] : [0]; // axial first
  const views = order.map((axis) => {
    const heading = element("h3", { className: isVolume ? "hush" : "", textContent: facts.views[axis] });
    const head = element("div", { className: "head" }, heading);
    let slider = null, number = null;
    if (isVolume) {
      const id = newName();
      number = element("output", { htmlFor: id });
      slider = element("input", { type: "range", id, min: 0, max: facts.shape[axis] - 1, step: 1 });
      slider.addEventListener("input", () => {
        state.voxel[axis] = slider.valueAsNumber;
        changed();
      });
      head.append(element("label", { htmlFor: id }, `${facts.views[axis]} plane `, number, slider));
    }
    const panels = element("div", { className: isVolume ? "panels volume" : "panels" });
    const canvases = Object.entries(PANELS).map(([name, title]) => {
      const canvas = element("canvas", { role: "img", "aria-label": `${title}, ${facts.views[axis]}` });
      if (isVolume) canvas.addEventListener("click", (event) => goTo(axis, canvas, event));
      panels.append(element("figure", {}, canvas, element("figcaption", {}, title, ...keys(name, facts))));
      return { name, canvas };
    });
    const box = element("section", { className: "view", "aria-label": facts.views[axis] }, head, panels);
    return { axis, canvases, slider, number, box, still: null, outline: null };
  });

  function inPlane(axis) {
    if (!isVolume) return [0, 1];
    return [0, 1, 2].filter((other) => other !== axis);
  }

  function goTo(axis, canvas, event) {
    const [first, second] = inPlane(axis);
    const box = canvas.getBoundingClientRect();
    const right = (event.clientX - box.left) / box.width;
    const up = 1 - (event.clientY - box.top) / box.height;
    state.voxel[first] = Math.min(facts.shape[first] - 1, Math.max(0, Math.floor(right * facts.shape[first])));
    state.voxel[second] = Math.min(facts.shape[second] - 1, Math.max(0, Math.floor(up * facts.shape[second])));
    changed();
  }

  const scores = element("p", { className: "scores" });
  const spoken = element("p", { className: "hush", role: "status", "aria-live": "polite" });

  function draw(found) {
    answer = found;
    for (const view of views) {
      const { axis, canvases, slider, number } = view;
      const plane = found.planes.find((one) => one.axis === null || one.axis === axis);
      const [first, second] = inPlane(axis);
      // a coarse plane has fewer and larger voxels
      const spacing = [
        facts.spacing[first] * (facts.shape[first] / plane.width),
        facts.spacing[second] * (facts.shape[second] / plane.height),
      ];
      // moving and fixed image stay as they are while a slider of a hyperparameter is moved
      const still = JSON.stringify([state.pair, found.voxel, state.shown, found.coarse, state.side]);
      const isStill = view.still === still;
      if (!isStill) {
        const labels = state.shown === null ? null : plane.arrays.fixed_labels;
        view.outline = labels ? outline(labels, plane, state.shown) : null;
        view.still = still;
      }
      for (const { name, canvas } of canvases) {
        if (isStill && (name === "moving" || name === "fixed")) continue;
        paint(canvas, plane, name, state.shown, spacing, state.side, view.outline);
      }
      if (slider) {
        if (document.activeElement !== slider) slider.value = found.voxel[axis];
        number.textContent = `${found.voxel[axis] + 1} of ${facts.shape[axis]}`;
        slider.setAttribute("aria-valuetext", number.textContent);
      }
    }
    state.voxel ??= [...found.voxel];
    scores.textContent = scoresText(found);
    root.dataset.drawn = found.number;
    root.dataset.coarse = found.coarse;
    const { number, coarse, milliseconds } = found;
    root.dispatchEvent(new CustomEvent("drawn", { detail: { number, coarse, milliseconds } }));
    if (!found.coarse) speak();
  }

  function scoresText(found) {
    if (found.coarse) return "Interpolated between settings that are known; computing …";
    const parts = [`This pair: ${percent(found.scores.folding)} of the voxels fold`];
    const dice = found.scores.dice ?? [];
    if (dice.length && found.scores.mean_dice !== null) parts.push(`mean Dice ${found.scores.mean_dice.toFixed(3)}`);
    const label = state.shown > 0 ? state.shown - 1 : -1;
    if (label >= 0 && dice[label] != null) parts.push(`${facts.labels[label]} ${dice[label].toFixed(3)}`);
    return `${parts.join(", ")}.`;
  }

  let speaking;
  function speak() {
    clearTimeout(speaking);
    speaking = setTimeout(() => {
      const values = inputs.filter(({ control }) => isActive(control))
        .map(({ control }) => `${control.symbol} ${control.texts[state.places[control.name]]}`);
      spoken.textContent = `${values.join(", ")}. ${scores.textContent}`;
    }, SPOKEN_MS);
  }

  // --- questions

  async function answerTo(coarse) {
    const number = state.wanted;
    const voxel = state.voxel && [...state.voxel];
    let found;
    try {
      found = await ask("answer", { setting: setting(), pair: state.pair, voxel, coarse });
      tell(null);
    } catch (error) {
      tell(error);
      return;
    }
    const isLatest = number === state.wanted;
    if (found.content === null) { // another page asked for something newer
      if (isLatest) setTimeout(exact, REST_MS);
      return;
    }
    // what is older than the latest is drawn while it is waited for, but never over what is newer
    const shown = Number(root.dataset.drawn ?? -1);
    const isNewer = number > shown || (number === shown && !coarse);
    if (isNewer && (isLatest || !facts.coarse_first || coarse)) draw({ ...found.content, number });
    if (isLatest && !coarse) root.removeAttribute("aria-busy");
  }

  const coarse = latestOnly(() => answerTo(true));
  const exact = latestOnly(() => answerTo(false));
  let resting;

  function changed() {
    state.wanted += 1;
    root.setAttribute("aria-busy", "true");
    showValues();
    if (!facts.coarse_first) {
      exact();
      return;
    }
    coarse();
    clearTimeout(resting);
    resting = setTimeout(exact, REST_MS);
  }

  // --- what the search found

  const { findings } = facts;
  const remembered = [];
  const recommended = element("section", {}, element("h2", { textContent: "Best settings of the search" }));
  if (findings.scopes.length) {
    const families = Map.groupBy ? Map.groupBy(findings.scopes, (one) => one.family) : grouped(findings.scopes);
    for (const [family, members] of families) {
      const buttons = element("div", { className: "buttons" });
      for (const one of members) {
        buttons.append(settingButton(one.title, one.setting));
        if (one.within_limit) buttons.append(settingButton(`${one.title}, within the folding limit`, one.within_limit));
      }
      const isLong = members.length > 20;
      const box = element("details", { open: !isLong },
        element("summary", { textContent: `${family} (${members.length})` }), buttons);
      recommended.append(box);
    }
  }
  if (findings.scopes.length) {
    recommended.append(element("p", { className: "note" }, "As ",
      element("code", { textContent: "hmopt register --scope" }), " takes them: chosen by curves that are pooled over "
      + "all scopes of a kind, so that they can differ from the best value of a single curve."));
  }
  if (findings.remark) recommended.append(element("p", { className: "note", textContent: findings.remark }));

  function settingButton(title, values) {
    const shown = Object.values(values).map(shortNumber).join(", ");
    const button = element("button", { type: "button" }, title, element("b", { textContent: shown }));
    button.addEventListener("click", () => setSetting(values));
    remembered.push({ button, values });
    return button;
  }

  const curves = [];
  const responses = element("section");
  if (findings.curves.length) {
    responses.append(
      element("h2", { textContent: `${findings.metric} of each structure` }),
      element("p", { className: "note", textContent:
        "Mean over the searched pairs with its 95 % interval. Green: the best value, and its 95 % confidence set "
        + "on the axis. Orange: the setting above. Click to go there." }),
    );
    for (const control of controls) {
      const grid = element("div", { className: "curves" });
      for (const curve of findings.curves) {
        const drawn = responseFigure(curve, control, findings.metric, (place) => setPlace(control, place));
        curves.push({ control, move: drawn.move });
        grid.append(drawn.figure);
      }
      responses.append(grid);
    }
  }

  function showValues() {
    for (const { show } of inputs) show();
    for (const { control, move } of curves) move(isActive(control) ? state.places[control.name] : null);
    const now = JSON.stringify(Object.entries(setting()).sort());
    for (const { button, values } of remembered) {
      button.setAttribute("aria-pressed", JSON.stringify(Object.entries(values).sort()) === now);
    }
  }

  // --- the choice

  const kept = element("p", { role: "status", "aria-live": "polite" });
  const keep = element("button", { type: "button", className: "main", textContent: "Keep this setting" });
  keep.addEventListener("click", async () => {
    try {
      const { path, command } = (await ask("keep", { setting: setting() })).content;
      tell(null);
      const values = Object.entries(setting()).map(([name, value]) => `${name} ${shortNumber(value)}`).join(", ");
      kept.replaceChildren(`Kept ${values} in ${path}. Register with it: `, element("code", { textContent: command }));
    } catch (error) {
      tell(error);
    }
  });
  const choice = element("section", {}, element("h2", { textContent: "Your choice" }),
    element("p", { className: "note", textContent: `Written to ${facts.setting_file}.` }), keep, kept);

  const orientation = facts.views[0] === "Image" ? [] : [element("p", { className: "note", textContent:
    "Pictures run from the person's left to right, from back to front, and upwards." })];
  const remarks = facts.remarks.map((remark) => element("p", { className: "note", textContent: remark }));
  root.replaceChildren(
    element("h1", { textContent: facts.name }), failure, form, scores, spoken,
    ...views.map(({ box }) => box), ...orientation, ...remarks, recommended, choice, responses,
  );
  // pictures have the pixels that are seen
  const measured = () => {
    const shape = views[0].canvases[0].canvas;
    const seen = shape.clientWidth * window.devicePixelRatio;
    const side = Math.min(MOST_PIXELS, Math.max(120, Math.round(seen * longest(facts.shape))));
    if (side === state.side) return;
    state.side = side;
    if (answer) draw(answer);
  };
  measured();
  new ResizeObserver(measured).observe(views[0].box);
  changed();
}

// How much longer the longer side of a picture can be than its width.
function longest(shape) {
  return Math.max(1, Math.max(...shape) / Math.min(...shape));
}

function placeOf(control, value) {
  const exact = control.values.indexOf(value);
  if (exact >= 0 || !control.ordered) return Math.max(0, exact);
  let nearest = 0;
  control.values.forEach((one, place) => {
    if (Math.abs(one - value) < Math.abs(control.values[nearest] - value)) nearest = place;
  });
  return nearest;
}

function keys(name, facts) {
  const key = (role, title) => {
    const sample = element("span", { className: `key ${role}` });
    return [" ", element("span", { className: "together" }, sample, title)];
  };
  if (name === "folding") return [...key("shrinks", "shrinks"), ...key("expands", "expands"), ...key("folds", "folds")];
  if (name === "deformation" || !facts.labels.length) return [];
  const fixed = key("reference", "fixed labels");
  return name === "fixed" ? fixed : [...key("own", `${name} labels`), ...fixed];
}

function grouped(scopes) {
  const families = new Map();
  for (const one of scopes) families.set(one.family, [...(families.get(one.family) ?? []), one]);
  return families;
}

function percent(share) {
  if (share === 0) return "0 %";
  return share < 1e-5 ? "< 0.001 %" : `${Number((100 * share).toPrecision(2))} %`;
}

// ---------------------------------------------------------------- ways to the server

export async function overHttp(kind, content) {
  const options = content === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  };
  let response;
  try {
    response = await fetch(kind, options);
  } catch {
    throw new Error("hmopt tune does not answer: it was ended. Run it again, and open the address that it prints.");
  }
  if (response.status === 204) return { content: null };
  if (!response.ok) {
    const told = await response.text();
    let message = told;
    try {
      message = JSON.parse(told).error ?? told;
    } catch { /* it is text */ }
    throw new Error(message);
  }
  if (response.headers.get("Content-Type").startsWith("application/json")) return { content: await response.json() };
  const buffer = await response.arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { content: decoded(header, buffer, 4 + length) };
}

// Messages of a notebook widget: questions and answers have the same number.
export function overMessages(model) {
  const waiting = new Map();
  model.on("msg:custom", (message, buffers) => {
    const asked = waiting.get(message.id);
    if (!asked) return;
    waiting.delete(message.id);
    if (message.error) asked.reject(new Error(message.error));
    else if (buffers?.length) {
      const view = buffers[0];
      // copied, as arrays must begin at multiples of their size
      const bytes = view.buffer ? view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) : view;
      asked.resolve({ content: decoded(message.content, bytes, 0) });
    } else asked.resolve({ content: message.content });
  });
  let last = 0;
  return (kind, content) => new Promise((resolve, reject) => {
    last += 1;
    waiting.set(last, { resolve, reject });
    model.send({ id: last, kind, content: content ?? null });
  });
}

export default {
  render({ model, el }) {
    el.classList.add("hmopt-tuner");
    // JupyterLab takes arrow keys for itself, unless the element that has the focus says that it needs them
    el.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
    start(el, overMessages(model));
  },
};

const page = document.getElementById("hmopt-tuner");
if (page) start(page, overHttp);
