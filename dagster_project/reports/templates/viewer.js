"use strict";
// Scrolls through crops of CT that lie within the page: visits side by side, linked by millimetres
// from the lesion's middle along the normal. Bytes: see encode_crop in crops.py.
(() => {
  const root = document.querySelector("[data-viewer]");
  if (!root || typeof DecompressionStream === "undefined") return;
  const FORMAT = 1, BAR_MM = 20, STEP_MM = 1, LEAP_MM = 5;
  const KINDS = { A: ["#7cc3dc", []], B: ["#e6ab5a", [6, 4]], C: ["#c0a6de", [2, 3]], S: ["#b9c4c9", [8, 3, 2, 3]] };
  const one = (name) => root.querySelector(`[data-${name}]`);
  const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
  const lesion = one("lesion"), offset = one("offset"), level = one("level"), width = one("width"), zoom = one("zoom");
  const panes = [...root.querySelectorAll("[data-pane]")].map((figure) => ({
    figure, visit: figure.dataset.pane, canvas: figure.querySelector("canvas"), crop: null,
    place: figure.querySelector("[data-place]"), hu: figure.querySelector("[data-hu]"),
    note: figure.querySelector("[data-none]"), fault: figure.querySelector("[data-damaged]"),
  }));
  const hidden = new Set();
  let probe = [0, 0], turn = 0;

  // -- bytes
  async function unpack(text) {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  function decode(buffer) {
    const length = new DataView(buffer).getUint32(0, true);
    const crop = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const [depth, height, breadth] = crop.shape, count = depth * height * breadth;
    if (crop.format !== FORMAT || buffer.byteLength !== 4 + length + 2 * count) throw new Error("format");
    const low = new Uint8Array(buffer, 4 + length, count), high = new Uint8Array(buffer, 4 + length + count, count);
    const voxels = new Int16Array(count);
    for (let z = 0, i = 0; z < depth; z++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < breadth; x++, i++) {
          const a = x ? voxels[i - 1] : 0, b = y ? voxels[i - breadth] : 0, c = x && y ? voxels[i - breadth - 1] : 0;
          const folded = low[i] | (high[i] << 8);
          const guess = clamp(a + b - c, Math.min(a, b), Math.max(a, b));
          voxels[i] = guess + ((folded >>> 1) ^ -(folded & 1));
        }
      }
    }
    return Object.assign(crop, { voxels });
  }

  const cached = new Map();
  function load(name, visit) {
    const key = `${name}|${visit}`, holder = document.getElementById(`crop-${name}-${visit}`);
    if (!holder) return Promise.resolve(null);
    if (!cached.has(key)) cached.set(key, unpack(holder.textContent.trim()).then(decode));
    return cached.get(key);
  }

  // -- choice of a lesion
  async function choose() {
    const mine = ++turn;
    root.setAttribute("aria-busy", "true");
    await Promise.all(panes.map(async (pane) => {
      let crop = null, damaged = false;
      try { crop = await load(lesion.value, pane.visit); } catch { damaged = true; }
      if (mine !== turn) return;
      pane.crop = crop;
      pane.fault.hidden = !damaged;
      pane.note.hidden = damaged || crop !== null;
    }));
    if (mine !== turn) return;
    const shown = panes.filter((p) => p.crop).map((p) => p.crop);
    const ends = shown.flatMap((c) => [-c.middle * c.spacing[0], (c.shape[0] - 1 - c.middle) * c.spacing[0]]);
    offset.min = Math.floor(Math.min(0, ...ends));
    offset.max = Math.ceil(Math.max(0, ...ends));
    offset.value = 0;
    probe = [0, 0];
    list([...new Set(shown.flatMap((c) => Object.keys(c.outlines)))].sort());
    draw();
    root.removeAttribute("aria-busy");
    root.dataset.ready = lesion.value;
  }

  function list(letters) {
    const group = one("letters");
    group.querySelectorAll("label").forEach((l) => l.remove());
    for (const letter of letters) {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = !hidden.has(letter);
      box.dataset.letter = letter;
      box.addEventListener("change", () => { hidden[box.checked ? "delete" : "add"](letter); draw(); });
      label.append(box, ` ${letter}`);
      group.append(label);
    }
  }

  // -- drawing
  const side = () => Math.max(...panes.filter((p) => p.crop).map(({ crop: c }) => Math.max(c.shape[1] * c.spacing[1], c.shape[2] * c.spacing[2]))) / zoom.value;
  const slice = (c) => Math.round(c.middle + offset.value / c.spacing[0]);
  const at = (c) => [Math.round(c.centre[0] + probe[0] / c.spacing[2]), Math.round(c.centre[1] + probe[1] / c.spacing[1])];

  function draw() {
    for (const name of ["offset", "level", "width", "zoom"]) one(`${name}-now`).textContent = Number(one(name).value).toString().replace("-", "−");
    const mm = panes.some((p) => p.crop) ? side() : 1;
    panes.forEach((pane) => paint(pane, mm));
  }

  function paint(pane, mm) {
    const { canvas, crop } = pane, size = Math.max(64, Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)));
    if (canvas.width !== size) canvas.width = canvas.height = size;
    const g = canvas.getContext("2d", { willReadFrequently: true }); // drawn by the CPU: alike everywhere
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.fillStyle = "#000";
    g.fillRect(0, 0, size, size);
    pane.place.textContent = pane.hu.textContent = "";
    delete canvas.dataset.slice;
    if (!crop) return;
    const z = slice(crop), [depth, height, breadth] = crop.shape, [dz, dy, dx] = crop.spacing;
    if (z < 0 || z >= depth) return;
    const px = (x) => ((x - crop.centre[0]) * dx / mm + 0.5) * size, py = (y) => ((y - crop.centre[1]) * dy / mm + 0.5) * size;
    const grey = new ImageData(breadth, height), low = level.value - width.value / 2, scale = 255 / width.value;
    for (let i = 0, start = z * height * breadth; i < height * breadth; i++) {
      const v = (crop.voxels[start + i] - low) * scale;
      grey.data[4 * i] = grey.data[4 * i + 1] = grey.data[4 * i + 2] = v;
      grey.data[4 * i + 3] = 255;
    }
    const plain = pane.plain ??= document.createElement("canvas");
    plain.width = breadth;
    plain.height = height;
    plain.getContext("2d").putImageData(grey, 0, 0);
    g.drawImage(plain, px(-0.5), py(-0.5), breadth * dx / mm * size, height * dy / mm * size);
    const unit = size / 320;
    for (const letter of Object.keys(crop.outlines).sort()) {
      if (hidden.has(letter)) continue;
      const [colour, dashes] = KINDS[letter] || ["#fff", []];
      g.strokeStyle = colour;
      g.lineWidth = 1.4 * unit;
      g.setLineDash(dashes.map((d) => d * unit));
      for (const line of crop.outlines[letter][z] || []) {
        g.beginPath();
        for (let i = 0; i < line.length; i += 2) g[i ? "lineTo" : "moveTo"](px(line[i] / 2), py(line[i + 1] / 2));
        g.closePath();
        g.stroke();
      }
    }
    g.setLineDash([]);
    if (crop.diameter && crop.diameter[0] === z) {
      stroke(g, "#fff", 1.6 * unit, [[px(crop.diameter[1]), py(crop.diameter[2])], [px(crop.diameter[3]), py(crop.diameter[4])]]);
    }
    const [x, y] = at(crop), inside = x >= 0 && y >= 0 && x < breadth && y < height, arm = 5 * unit;
    stroke(g, "#ffd34d", unit, [[px(x) - arm, py(y)], [px(x) + arm, py(y)]]);
    stroke(g, "#ffd34d", unit, [[px(x), py(y) - arm], [px(x), py(y) + arm]]);
    g.fillStyle = "#fff";
    g.font = `${12 * unit}px sans-serif`;
    [["start", 4, 164], ["end", 316, 164], ["center", 160, 13], ["center", 160, 316]].forEach(([align, tx, ty], i) => {
      g.textAlign = align;
      g.fillText(crop.edges[i], tx * unit, ty * unit);
    });
    stroke(g, "#fff", 2 * unit, [[8 * unit, 308 * unit], [8 * unit + BAR_MM / mm * size, 308 * unit]]);
    g.textAlign = "start";
    g.fillText(`${BAR_MM} mm`, 8 * unit, 303 * unit);
    pane.place.textContent = `${((z - crop.middle) * dz).toFixed(1).replace("-", "−")} mm`;
    pane.hu.textContent = inside ? `${crop.voxels[(z * height + y) * breadth + x]} HU`.replace("-", "−") : "";
    Object.assign(canvas.dataset, { slice: z, x, y, side: mm });
  }

  function stroke(g, colour, width, [from, to]) {
    g.strokeStyle = colour;
    g.lineWidth = width;
    g.beginPath();
    g.moveTo(...from);
    g.lineTo(...to);
    g.stroke();
  }

  // -- pointer and keys
  function move(input, by) {
    input.value = clamp(Number(input.value) + by, Number(input.min), Number(input.max));
    draw();
  }

  const smallest = (axis) => Math.min(...panes.filter((p) => p.crop).map((p) => p.crop.spacing[axis]));
  const KEYS = {
    ArrowUp: () => move(offset, STEP_MM), ArrowDown: () => move(offset, -STEP_MM),
    PageUp: () => move(offset, LEAP_MM), PageDown: () => move(offset, -LEAP_MM), Home: () => move(offset, -offset.value),
    "+": () => move(zoom, 0.5), "=": () => move(zoom, 0.5), "-": () => move(zoom, -0.5),
    l: () => move(level, 20), k: () => move(level, -20), w: () => move(width, 50), q: () => move(width, -50),
  };
  const SHIFTED = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function pressed(event) {
    const step = event.shiftKey && SHIFTED[event.key], act = KEYS[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey || !(step || act)) return;
    event.preventDefault();
    if (!step) return act();
    probe = [probe[0] + step[0] * smallest(2), probe[1] + step[1] * smallest(1)];
    draw();
  }

  function pointed(pane, event) {
    if (event.buttons === 1) {
      level.value = Number(level.value) + event.movementY * 2;
      width.value = Number(width.value) + event.movementX * 4;
      return draw();
    }
    const box = pane.canvas.getBoundingClientRect(), mm = Number(pane.canvas.dataset.side || 0);
    probe = [((event.clientX - box.left) / box.width - 0.5) * mm, ((event.clientY - box.top) / box.height - 0.5) * mm];
    draw();
  }

  for (const pane of panes) {
    pane.canvas.addEventListener("keydown", pressed);
    pane.canvas.addEventListener("pointermove", (event) => pointed(pane, event));
    pane.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      move(event.ctrlKey ? zoom : offset, event.ctrlKey ? -Math.sign(event.deltaY) * 0.25 : -Math.sign(event.deltaY) * STEP_MM);
    }, { passive: false });
  }
  for (const input of [offset, level, width, zoom]) input.addEventListener("input", draw);
  root.querySelectorAll("[data-window]").forEach((button) => button.addEventListener("click", () => {
    [level.value, width.value] = button.dataset.window.split(" ");
    draw();
  }));
  lesion.addEventListener("change", choose);
  window.addEventListener("resize", draw);
  root.hidden = false;
  document.querySelectorAll("[data-without-viewer]").forEach((part) => { part.hidden = true; });
  choose();
})();
