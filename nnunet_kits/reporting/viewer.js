"use strict";
// The slice viewer of the report: unpacks a case's voxels when the case is opened, and draws three linked planes.
// A place is [z, y, x] in voxels of the part that the page holds: z from head to feet, y from front to back, x from the
// patient's right to the left. Nothing is loaded from anywhere.

(() => {
  const PLANES = [
    { name: "axial", axis: 0, rows: 1, columns: 2, edges: ["R", "L", "A", "P"] },
    { name: "coronal", axis: 1, rows: 0, columns: 2, edges: ["R", "L", "S", "I"] },
    { name: "sagittal", axis: 2, rows: 0, columns: 1, edges: ["A", "P", "S", "I"] },
  ];
  const NAMES = ["none", "kidney", "tumor", "cyst"];
  const DIFFERENCES = ["", "missed", "extra", "another label"];
  const GAP = 4; // CSS pixels between planes
  const NARROW = 700; // below this width the planes stand under each other
  const HEIGHT_SHARE = 0.75; // of the window, that a plane fills at most
  const MOVED = 4; // CSS pixels: less is a click
  const WHEEL = 30; // pixels of a touchpad that turn one slice
  const HU_PER_PIXEL = 2;
  const BARS_MM = [100, 50, 20, 10, 5];

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  // Unpacking

  async function inflate(text) {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // In place: values from their differences to what the median predictor of LOCO-I expects (see volume.py).
  function undoPrediction(values, [planes, rows, columns]) {
    for (let at = 0, z = 0; z < planes; z++) {
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++, at++) {
          const left = x ? values[at - 1] : 0;
          const above = y ? values[at - columns] : 0;
          const corner = x && y ? values[at - columns - 1] : 0;
          const low = Math.min(left, above);
          const high = Math.max(left, above);
          values[at] += corner >= high ? low : corner <= low ? high : left + above - corner;
        }
      }
    }
    return values;
  }

  class Volume {
    constructor(about, values, labels) {
      Object.assign(this, about, { values, labels });
      this.strides = [this.shape[1] * this.shape[2], this.shape[2], 1];
    }

    static async unpack(about, article) {
      const [hu, labels] = await Promise.all(
        ["hu", "labels"].map((kind) => inflate(article.querySelector(`script.${kind}`).textContent)),
      );
      return new Volume(about, undoPrediction(hu, about.shape), labels);
    }

    // From voxels of the CT, and back to the number of a slice in it, from 1.
    inside(place) {
      return place.map((at, axis) => (at - this.start[axis]) / (axis === 0 ? this.every : 1));
    }

    // The voxel next to a place, of those that are there.
    nearest(place) {
      return place.map((at, axis) => clamp(Math.round(at), 0, this.shape[axis] - 1));
    }

    number(axis, index) {
      return this.start[axis] + index * (axis === 0 ? this.every : 1) + 1;
    }

    offset(place) {
      return place.reduce((sum, at, axis) => sum + at * this.strides[axis], 0);
    }

    hu(place) {
      const value = this.values[this.offset(place)];
      const sign = value === 0 ? "≤ " : value === this.levels.length - 1 ? "≥ " : "";
      return `${sign}${this.levels[value]} HU`;
    }

    millimetres(from, to) {
      return Math.hypot(...from.map((at, axis) => (to[axis] - at) * this.spacing[axis]));
    }
  }

  const predicted = (label) => label & 3;
  const reference = (label) => label >> 2;
  function difference(label) {
    const [ours, theirs] = [predicted(label), reference(label)];
    return ours === theirs ? 0 : !ours ? 1 : !theirs ? 2 : 3;
  }

  // One plane on its canvas

  class Pane {
    constructor(viewer, plane) {
      const { volume } = viewer;
      Object.assign(this, plane, { viewer, wheel: 0 });
      this.size = [volume.shape[this.rows], volume.shape[this.columns]];
      this.mm = [this.rows, this.columns].map((axis) => volume.shape[axis] * volume.spacing[axis]);
      this.canvas = document.createElement("canvas");
      this.canvas.className = plane.name;
      this.canvas.tabIndex = 0;
      const last = volume.shape[this.axis] - 1;
      const described = {
        role: "slider",
        "aria-label": `${plane.name} plane: arrow keys turn the slices`,
        "aria-orientation": "vertical",
        "aria-valuemin": volume.number(this.axis, 0),
        "aria-valuemax": volume.number(this.axis, last),
      };
      for (const [name, value] of Object.entries(described)) this.canvas.setAttribute(name, value);
      // Voxels are drawn one a pixel here, and enlarged onto the canvas.
      const [height, width] = this.size;
      this.small = Object.assign(document.createElement("canvas"), { width, height });
      this.listen();
    }

    get index() {
      return this.viewer.at[this.axis];
    }

    listen() {
      const on = (kind, act) => this.canvas.addEventListener(kind, act.bind(this), { passive: false });
      on("wheel", this.turnWheel);
      on("keydown", this.press);
      on("pointerdown", this.begin);
      on("pointermove", this.move);
      on("pointerup", this.end);
      on("pointercancel", this.end);
      on("contextmenu", (event) => event.preventDefault());
      on("pointerleave", () => this.viewer.tell());
    }

    place(event) {
      const box = this.canvas.getBoundingClientRect();
      const found = [...this.viewer.at];
      found[this.columns] = ((event.clientX - box.left) / box.width) * this.size[1] - 0.5;
      found[this.rows] = ((event.clientY - box.top) / box.height) * this.size[0] - 0.5;
      return found;
    }

    turnWheel(event) {
      if (event.ctrlKey) return; // the browser's zoom
      event.preventDefault();
      const notch = event.deltaMode !== 0 || Math.abs(event.deltaY) >= WHEEL;
      this.wheel = notch ? 0 : this.wheel + event.deltaY;
      const steps = notch ? Math.sign(event.deltaY) : Math.trunc(this.wheel / WHEEL);
      this.wheel -= steps * WHEEL * !notch;
      if (steps) this.turn(steps);
    }

    turn(steps) {
      const place = [...this.viewer.at];
      place[this.axis] += steps;
      this.viewer.go(place);
    }

    press(event) {
      const steps = {
        ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1,
        PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity,
      }[event.key];
      const act = { d: () => this.viewer.markEnd(), o: () => this.viewer.flip(), Escape: () => this.viewer.clear() }[event.key];
      if (event.ctrlKey || event.metaKey || event.altKey || (!steps && !act)) return;
      event.preventDefault();
      if (steps) this.turn(steps);
      else act();
    }

    begin(event) {
      event.preventDefault();
      this.canvas.focus({ preventScroll: true });
      this.canvas.setPointerCapture(event.pointerId);
      const { level, width, at, tool } = this.viewer;
      this.drag = { x: event.clientX, y: event.clientY, level, width, index: at[this.axis], from: this.place(event) };
      this.drag.tool = event.button === 2 ? "window" : tool;
    }

    move(event) {
      const { drag, viewer } = this;
      if (!drag) return viewer.tell(this.place(event));
      const [right, down] = [event.clientX - drag.x, event.clientY - drag.y];
      drag.moved ||= Math.hypot(right, down) >= MOVED;
      if (!drag.moved) return undefined;
      if (drag.tool === "window") {
        return viewer.setWindow(drag.level + down * HU_PER_PIXEL, drag.width + right * HU_PER_PIXEL);
      }
      if (drag.tool === "distance") return viewer.setLine(drag.from, this.place(event));
      const perSlice = clamp(this.canvas.clientHeight / viewer.volume.shape[this.axis], 2, 8);
      const place = [...viewer.at];
      place[this.axis] = drag.index + Math.round(down / perSlice);
      return viewer.go(place);
    }

    end(event) {
      if (this.drag && !this.drag.moved && event.type === "pointerup") this.viewer.go(this.place(event));
      this.drag = null;
    }

    // Drawing

    fit(pixelsPerMm) {
      const [height, width] = this.mm.map((mm) => Math.max(1, Math.floor(mm * pixelsPerMm)));
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
      const sharp = window.devicePixelRatio || 1;
      Object.assign(this.canvas, { width: Math.round(width * sharp), height: Math.round(height * sharp) });
      this.sharp = sharp;
    }

    draw() {
      const { canvas, viewer, size } = this;
      const context = canvas.getContext("2d");
      const labels = this.cut(viewer.volume.labels);
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "high";
      this.paint(context, this.cut(viewer.volume.values), (value) => viewer.grey[value]);
      context.imageSmoothingEnabled = false;
      this.paint(context, labels, (label) => viewer.fill[label]);
      this.scale = [canvas.height / size[0], canvas.width / size[1]];
      if (viewer.show.prediction && viewer.style === "contour") this.outline(context, labels, predicted, [4, 3]);
      if (viewer.show.reference) this.outline(context, labels, reference, []);
      if (viewer.show.crosshair) this.cross(context);
      this.annotate(context);
    }

    describe() {
      const number = this.viewer.volume.number(this.axis, this.index);
      this.canvas.setAttribute("aria-valuenow", number);
      this.canvas.setAttribute("aria-valuetext", `${this.name} slice ${number} of ${this.viewer.volume.whole[this.axis]}`);
    }

    cut(voxels) {
      const { strides } = this.viewer.volume;
      const [rows, columns] = this.size;
      const flat = new Uint8Array(rows * columns);
      const start = this.index * strides[this.axis];
      for (let at = 0, row = 0; row < rows; row++) {
        let from = start + row * strides[this.rows];
        for (let column = 0; column < columns; column++, at++, from += strides[this.columns]) flat[at] = voxels[from];
      }
      return flat;
    }

    // Colours are 32 bits, red in the lowest; what is wholly transparent leaves what is drawn.
    paint(context, flat, colour) {
      const small = this.small.getContext("2d");
      const image = small.createImageData(this.small.width, this.small.height);
      const words = new Uint32Array(image.data.buffer);
      for (let at = 0; at < flat.length; at++) words[at] = colour(flat[at]);
      small.putImageData(image, 0, 0);
      context.drawImage(this.small, 0, 0, this.canvas.width, this.canvas.height);
    }

    // Along the edges of voxels, each label in its colour.
    outline(context, labels, of, dashes) {
      const [rows, columns] = this.size;
      const [down, across] = this.scale;
      const paths = NAMES.map(() => new Path2D());
      const line = (label, y0, x0, y1, x1) => {
        if (!label) return;
        paths[label].moveTo(x0 * across, y0 * down);
        paths[label].lineTo(x1 * across, y1 * down);
      };
      for (let at = 0, y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++, at++) {
          const here = of(labels[at]);
          const right = x + 1 < columns ? of(labels[at + 1]) : 0;
          const below = y + 1 < rows ? of(labels[at + columns]) : 0;
          if (here !== right) line(Math.max(here, right), y, x + 1, y + 1, x + 1);
          if (here !== below) line(Math.max(here, below), y + 1, x, y + 1, x + 1);
          if (x === 0) line(here, y, 0, y + 1, 0);
          if (y === 0) line(here, 0, x, 0, x + 1);
        }
      }
      context.lineWidth = 2 * this.sharp;
      context.setLineDash(dashes.map((length) => length * this.sharp));
      paths.forEach((path, label) => {
        if (label) context.strokeStyle = this.viewer.colours[label];
        if (label) context.stroke(path);
      });
      context.setLineDash([]);
    }

    // A place on the canvas: (x, y) of a voxel's centre.
    spot(place) {
      return [(place[this.columns] + 0.5) * this.scale[1], (place[this.rows] + 0.5) * this.scale[0]];
    }

    cross(context) {
      const [x, y] = this.spot(this.viewer.at);
      const { width, height } = this.canvas;
      const free = 10 * this.sharp;
      context.strokeStyle = "#ffe066b0";
      context.lineWidth = this.sharp;
      context.beginPath();
      for (const [x0, y0, x1, y1] of [[0, y, x - free, y], [x + free, y, width, y], [x, 0, x, y - free], [x, y + free, x, height]]) {
        context.moveTo(x0, y0);
        context.lineTo(x1, y1);
      }
      context.stroke();
    }

    annotate(context) {
      const { canvas, edges, viewer, sharp } = this;
      const { width, height } = canvas;
      const number = viewer.volume.number(this.axis, this.index);
      context.font = `${12 * sharp}px system-ui, sans-serif`;
      context.lineJoin = "round";
      const write = (text, x, y, align, baseline) => {
        Object.assign(context, { textAlign: align, textBaseline: baseline, strokeStyle: "#000", lineWidth: 3 * sharp });
        context.strokeText(text, x, y);
        context.fillStyle = "#fff";
        context.fillText(text, x, y);
      };
      const margin = 4 * sharp;
      const title = `${this.name} ${number}/${viewer.volume.whole[this.axis]}`;
      const beside = context.measureText(title).width + 3 * margin;
      write(title, margin, margin, "left", "top");
      write(edges[0], margin, height / 2, "left", "middle");
      write(edges[1], width - margin, height / 2, "right", "middle");
      write(edges[2], Math.max(width / 2, beside), margin, "center", "top");
      write(edges[3], width / 2, height - margin, "center", "bottom");
      const perMm = width / this.mm[1];
      const bar = BARS_MM.find((mm) => mm * perMm < width / 3) || 1;
      const low = height - 2 * margin;
      this.rule(context, [width - margin - bar * perMm, low], [width - margin, low]);
      write(`${bar} mm`, width - margin, low - margin, "right", "bottom");
      const line = viewer.line;
      if (line && line.every((end) => Math.round(end[this.axis]) === this.index)) {
        const [from, to] = line.map((end) => this.spot(end));
        this.rule(context, from, to);
        write(viewer.length(), Math.max(from[0], to[0]) + margin, (from[1] + to[1]) / 2, "left", "middle");
      }
    }

    rule(context, from, to) {
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      for (const [colour, wide] of [["#000", 4], ["#fff", 2]]) {
        Object.assign(context, { strokeStyle: colour, lineWidth: wide * this.sharp });
        context.stroke();
      }
    }
  }

  // A case that is open

  class Viewer {
    constructor(article, volume, element) {
      Object.assign(this, { article, volume, element });
      this.find = (selector) => element.querySelector(selector);
      this.colours = ["", ...JSON.parse(element.dataset.labels)];
      this.differences = ["", ...JSON.parse(element.dataset.differences)];
      this.at = volume.nearest(volume.inside(volume.at));
      this.panes = PLANES.map((plane) => new Pane(this, plane));
      for (const pane of this.panes) this.find(".panes").append(pane.canvas);
      if (!volume.reference) for (const box of element.querySelectorAll(".with-reference")) box.remove();
      if (window.innerWidth < NARROW) this.find(".layout").value = "axial";
      this.preset();
      this.read();
      element.addEventListener("change", (event) => this.change(event));
      element.addEventListener("input", (event) => event.target.matches(".opacity") && this.change(event));
      this.find(".close").addEventListener("click", () => close());
      this.observer = new ResizeObserver(() => this.fit());
      this.observer.observe(this.find(".panes"));
      this.tell();
    }

    change(event) {
      if (event.target.matches(".preset")) return this.preset();
      this.read();
      if (event.target.matches(".layout")) this.fit();
      return this.draw();
    }

    // What the controls say.
    read() {
      const checked = (name) => Boolean(this.find(`.${name}`)?.checked);
      this.show = Object.fromEntries(["prediction", "reference", "difference", "crosshair"].map((name) => [name, checked(name)]));
      this.tool = this.find(".tool").value;
      this.style = this.find(".style").value;
      this.opacity = Number(this.find(".opacity").value) / 100;
      const alpha = Math.round(this.opacity * 255);
      const colour = (hex) => {
        const [red, green, blue] = rgb(hex);
        return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
      };
      this.fill = Array.from({ length: 16 }, (_, label) => {
        if (this.show.difference && difference(label)) return colour(this.differences[difference(label)]);
        if (this.show.prediction && this.style === "filled" && predicted(label)) return colour(this.colours[predicted(label)]);
        return 0;
      });
      this.find(".panes").dataset.tool = this.tool;
    }

    preset() {
      const chosen = this.find(".preset").value;
      if (chosen) this.setWindow(...chosen.split(" ").map(Number), true);
    }

    setWindow(level, width, named = false) {
      this.level = Math.round(level);
      this.width = Math.max(1, Math.round(width));
      this.grey = this.volume.levels.map((hu) => {
        const grey = Math.round(clamp((hu - this.level) / this.width + 0.5, 0, 1) * 255);
        return (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
      });
      if (!named) this.find(".preset").value = "";
      this.find(".window").textContent = `level ${this.level}, width ${this.width} HU`;
      this.draw();
    }

    go(place) {
      this.at = this.volume.nearest(place);
      this.draw();
      this.tell();
    }

    // All overlays off, and on again as they were.
    flip() {
      const boxes = ["prediction", "reference", "difference"].map((name) => this.find(`.${name}`)).filter(Boolean);
      if (boxes.some((box) => box.checked)) this.hidden = boxes.map((box) => box.checked);
      const on = boxes.every((box) => !box.checked);
      boxes.forEach((box, index) => (box.checked = on && (this.hidden?.[index] ?? index === 0)));
      this.read();
      this.draw();
    }

    setLine(from, to) {
      this.line = [from, to];
      this.mark = null;
      this.draw();
      this.tell();
    }

    // By keyboard: the crosshair is the first end, then the second.
    markEnd() {
      const first = this.mark;
      if (first) return this.setLine(first, [...this.at]);
      this.mark = [...this.at];
      return this.tell();
    }

    clear() {
      this.line = this.mark = null;
      this.draw();
      this.tell();
    }

    length() {
      return `${this.volume.millimetres(...this.line).toFixed(1)} mm`;
    }

    // Where the pointer is, else the crosshair, and what is there.
    tell(place = this.at) {
      const { volume } = this;
      const at = place.map(Math.round);
      if (at.some((index, axis) => index < 0 || index >= volume.shape[axis])) return;
      const label = volume.labels[volume.offset(at)];
      const parts = [
        PLANES.map(({ name, axis }) => `${name} ${volume.number(axis, at[axis])}`).join(", "),
        volume.hu(at),
        `predicted: ${NAMES[predicted(label)]}`,
      ];
      if (volume.reference) parts.push(`reference: ${NAMES[reference(label)]}`);
      if (volume.reference && difference(label)) parts.push(DIFFERENCES[difference(label)]);
      if (this.mark) parts.push("first end of a distance marked: go to the second and press d");
      if (this.line) parts.push(`distance ${this.length()}`);
      this.find(".status").textContent = parts.join(" · ");
    }

    // As large as there is room; all planes to one scale where they stand beside each other.
    fit() {
      const room = this.find(".panes").clientWidth;
      if (!room) return;
      const chosen = this.find(".layout").value;
      const shown = this.panes.filter((pane) => chosen === "all" || pane.name === chosen);
      const apart = shown.length === 1 || room < NARROW;
      const across = shown.reduce((sum, pane) => sum + pane.mm[1], 0);
      const beside = (room - GAP * (shown.length - 1)) / across;
      const tallest = Math.max(...shown.map((pane) => pane.mm[0]));
      for (const pane of this.panes) {
        pane.canvas.hidden = !shown.includes(pane);
        const highest = (window.innerHeight * HEIGHT_SHARE) / (apart ? pane.mm[0] : tallest);
        pane.fit(Math.min(apart ? room / pane.mm[1] : beside, highest));
      }
      this.draw();
    }

    draw() {
      if (!this.fill) return;
      for (const pane of this.panes) {
        pane.describe();
        if (!pane.canvas.hidden && pane.sharp) pane.draw();
      }
    }
  }

  // Opening cases: one at a time, so that memory is that of one

  let opened = null;

  function close() {
    if (!opened) return;
    opened.observer.disconnect();
    opened.element.remove();
    opened.article.classList.remove("viewing");
    const button = opened.article.querySelector(".open");
    opened = null;
    button.focus();
  }

  async function open(article) {
    if (opened?.article === article) return opened;
    close();
    const button = article.querySelector(".open");
    button.disabled = true;
    try {
      const volume = await Volume.unpack(JSON.parse(article.dataset.volume), article);
      const element = document.getElementById("viewer").content.firstElementChild.cloneNode(true);
      element.setAttribute("aria-label", `Slices of ${article.querySelector("h3").textContent}`);
      article.querySelector(".top").after(element);
      article.classList.add("viewing");
      opened = new Viewer(article, volume, element);
      opened.fit();
      return opened;
    } catch (error) {
      article.querySelector(".problem").textContent = `The slices cannot be shown: ${error.message}`;
      return null;
    } finally {
      button.disabled = false;
    }
  }

  // To where a structure's axial diameter was measured, with the diameter drawn in.
  async function jump(article, target) {
    const viewer = await open(article);
    if (!viewer) return;
    const ends = target.map((end) => viewer.volume.inside(end));
    viewer.go(ends[0].map((at, axis) => (at + ends[1][axis]) / 2));
    const slice = viewer.at[0];
    viewer.setLine(...ends.map(([, y, x]) => [slice, y, x]));
    viewer.element.scrollIntoView({ block: "nearest" });
    viewer.panes[0].canvas.focus({ preventScroll: true });
  }

  function prepare(article) {
    const button = article.querySelector(".open");
    button.hidden = false;
    button.addEventListener("click", async () => {
      const viewer = await open(article);
      viewer?.panes.find((pane) => !pane.canvas.hidden).canvas.focus();
    });
    for (const row of article.querySelectorAll("tr[data-target]")) {
      const name = row.querySelector("th");
      const link = Object.assign(document.createElement("button"), { type: "button", className: "jump" });
      link.append(...name.childNodes);
      link.title = "Show where its axial diameter was measured";
      link.addEventListener("click", () => jump(article, JSON.parse(row.dataset.target)));
      name.append(link);
    }
  }

  if (typeof DecompressionStream === "undefined") return; // an old browser: the pictures stay
  const articles = [...document.querySelectorAll("article[data-volume]")];
  articles.forEach(prepare);
  if (articles.length === 1) open(articles[0]);
})();
