"use strict";
// Sortable tables: a button in every heading; rows without a value stay at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const value = (row, column) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const order = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [value(row, column), row]);
      const numeric = rows.every(([key]) => key === "" || key === "–" || !Number.isNaN(Number(key)));
      rows.sort(([a], [b]) => {
        const missing = (key) => key === "" || key === "–";
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        return order * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}

const content = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");

// Slice viewer: draws one slice at a time from sprite sheets onto canvases.
const viewer = document.getElementById("viewer");
const shown = content("viewer-content");
if (viewer && shown) {
  viewer.hidden = false;
  const find = (name) => viewer.querySelector(`[data-part="${name}"]`);
  const slider = find("slice"), status = find("status"), choice = find("case"), panels = find("panels");
  const overlaid = find("labels"), outlined = find("outline");
  const canvases = [];
  let current, slice = 0;

  const addPanel = (kind, arm) => {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    canvas.setAttribute("role", "img");
    const panel = { kind, arm, canvas, text: document.createElement("span") };
    if (kind === "prediction" && shown.arms.length > shown.most) {
      const select = document.createElement("select");
      select.setAttribute("aria-label", "arm");
      for (const [name, title] of shown.arms) select.add(new Option(title, name, name === arm, name === arm));
      select.addEventListener("change", () => { panel.arm = select.value; draw(); });
      caption.append(select);
    }
    caption.append(panel.text);
    figure.append(canvas, caption);
    panels.append(figure);
    canvases.push(panel);
  };
  const loadImage = (url) => {
    const image = new Image();
    image.src = url;
    image.addEventListener("load", () => draw());
    return image;
  };
  const ready = (image) => image && image.complete && image.naturalWidth;

  // border of the foreground of one slice of a label sheet
  const border = (sheet, left, top) => {
    const { width, height } = current;
    const scratch = document.createElement("canvas");
    scratch.width = width; scratch.height = height;
    const pen = scratch.getContext("2d", { willReadFrequently: true });
    pen.drawImage(sheet, left, top, width, height, 0, 0, width, height);
    const pixels = pen.getImageData(0, 0, width, height), inside = new Uint8Array(width * height);
    for (let i = 0; i < inside.length; i++) inside[i] = pixels.data[4 * i + 3] > 0;
    for (let i = 0; i < inside.length; i++) {
      const x = i % width, edge = inside[i] && !(x > 0 && inside[i - 1] && x < width - 1 && inside[i + 1]
        && inside[i - width] && inside[i + width]);
      pixels.data.set(edge ? [255, 255, 255, 255] : [0, 0, 0, 0], 4 * i);
    }
    pen.putImageData(pixels, 0, 0);
    return scratch;
  };

  function draw() {
    const { width, height, columns } = current;
    const left = (slice % columns) * width, top = Math.floor(slice / columns) * height;
    const position = `${current.axis} slice ${current.slices[slice]} of ${current.of}`;
    const outline = outlined.checked && ready(current.sheets.truth) && border(current.sheets.truth, left, top);
    for (const { kind, arm, canvas, text } of canvases) {
      const found = kind === "prediction" ? current.predictions[arm] : null;
      const labels = kind === "image" ? null : kind === "truth" ? current.sheets.truth : current.sheets[`arm ${arm}`];
      canvas.width = 2 * width; canvas.height = 2 * height;
      const pen = canvas.getContext("2d");
      if (ready(current.sheets.image)) pen.drawImage(current.sheets.image, left, top, width, height, 0, 0, 2 * width, 2 * height);
      pen.imageSmoothingEnabled = false;
      if (overlaid.checked && ready(labels)) {
        pen.globalAlpha = 0.5;
        pen.drawImage(labels, left, top, width, height, 0, 0, 2 * width, 2 * height);
        pen.globalAlpha = 1;
      }
      if (kind === "prediction" && outline) pen.drawImage(outline, 0, 0, 2 * width, 2 * height);
      const title = kind === "prediction" ? shown.arms.find(([name]) => name === arm)[1] : kind === "image" ? "Image" : "Truth";
      const score = kind === "prediction" ? (found ? found.score : "no prediction of this case") : "";
      const named = kind === "prediction" && shown.arms.length > shown.most ? score : [title, score].filter(Boolean).join(" · ");
      text.textContent = named;
      canvas.setAttribute("aria-label", `${current.name}, ${position}: ${kind === "prediction" ? `prediction of ${title}, ${score}` : kind}`);
    }
    slider.value = slice;
    slider.setAttribute("aria-valuetext", position);
    status.textContent = position;
  }
  const move = (to) => {
    const next = Math.max(0, Math.min(current.slices.length - 1, to)), moved = next !== slice;
    slice = next;
    if (moved) draw();
    return moved;
  };
  const open = (index) => {
    current = shown.cases[(index + shown.cases.length) % shown.cases.length];
    choice.value = shown.cases.indexOf(current);
    if (!current.sheets) {
      current.sheets = { image: loadImage(current.image), truth: loadImage(current.truth) };
      for (const [arm, found] of Object.entries(current.predictions)) current.sheets[`arm ${arm}`] = loadImage(found.sheet);
    }
    slider.max = current.slices.length - 1;
    slice = current.start;
    draw();
  };

  shown.cases.forEach((one, index) => choice.add(new Option(one.rank ? `${one.name} (${one.rank})` : one.name, index)));
  addPanel("image");
  addPanel("truth");
  for (const [arm] of shown.arms.slice(0, shown.most)) addPanel("prediction", arm);
  choice.addEventListener("change", () => open(Number(choice.value)));
  slider.addEventListener("input", () => move(Number(slider.value)));
  for (const box of [overlaid, outlined]) box.addEventListener("change", draw);

  const keySteps = { ArrowUp: -1, ArrowDown: 1, PageUp: -5, PageDown: 5, Home: -1e6, End: 1e6 };
  viewer.addEventListener("keydown", (event) => {
    if (event.target.closest("select, input")) return;
    if (event.key in keySteps) move(slice + keySteps[event.key]);
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") open(Number(choice.value) + (event.key === "ArrowRight" ? 1 : -1));
    else return;
    event.preventDefault();
  });
  let scrolled = 0;
  panels.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return;
    scrolled += event.deltaMode ? 40 * event.deltaY : event.deltaY;
    const steps = Math.trunc(scrolled / 40);
    // beyond the first and the last slice the page scrolls
    if (steps === 0 || move(slice + steps)) event.preventDefault();
    scrolled -= 40 * steps;
  }, { passive: false });
  let dragStart = null;
  panels.addEventListener("pointerdown", (event) => {
    if (event.target.tagName === "CANVAS") dragStart = { x: event.clientX, slice, width: event.target.clientWidth };
  });
  panels.addEventListener("pointermove", (event) => {
    if (dragStart) move(dragStart.slice + Math.round((event.clientX - dragStart.x) / dragStart.width * current.slices.length));
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) panels.addEventListener(end, () => { dragStart = null; });
  open(0);

  globalThis.openCase = (name) => {
    const index = shown.cases.findIndex((one) => one.name === name);
    if (index >= 0) { open(index); viewer.scrollIntoView({ block: "center" }); viewer.focus({ preventScroll: true }); }
  };
}

// Heatmap: describes the square under the pointer; a click opens its case in the viewer.
const squares = document.querySelector(".squares"), table = content("heatmap-content");
if (squares && table) {
  const caption = document.getElementById("square");
  const under = (event) => {
    const box = squares.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / box.width * table.cases.length);
    const line = Math.floor((event.clientY - box.top) / box.height * table.arms.length);
    return [line, column];
  };
  squares.addEventListener("pointermove", (event) => {
    const [line, column] = under(event), value = table.differences[line]?.[column];
    caption.textContent = value === undefined ? "" : `${table.arms[line]}, ${table.cases[column]}: ${value === null ? "no score" : (value > 0 ? "+" : "") + value.toFixed(3)}`;
  });
  squares.addEventListener("click", (event) => globalThis.openCase?.(table.cases[under(event)[1]]));
}
