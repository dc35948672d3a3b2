"use strict";
const content = JSON.parse(document.getElementById("content").textContent);
const HUES = {
  light: ["#0072b2", "#d98200", "#008a68", "#d55e00", "#3d9fd6", "#b8609a", "#3b3b3b"],
  dark: ["#5cb0ec", "#f0b040", "#35c79c", "#ff8340", "#9ad8fa", "#eba3cb", "#d5dbe1"],
};
const clicked = new Map();  // chart -> what is done with the object that was clicked
const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));

function isDark() { return document.documentElement.dataset.theme === "dark"; }

/** A colour by its name: a hue's number, or a name of the style sheet. */
function palette(name) {
  const hue = HUES[isDark() ? "dark" : "light"][name];
  return hue || getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Fills in colours: "@0", "@ink", "@0/0.2". */
function fill(value) {
  if (typeof value === "string" && value[0] === "@") {
    const [name, alpha] = value.slice(1).split("/");
    const [hue, share] = name.split("~");
    const color = palette(hue);
    if (share) return blend(palette("paper"), color, Number(share));
    return alpha ? blend(color, color, 0).replace("rgb(", "rgba(").replace(")", `,${alpha})`) : color;
  }
  if (Array.isArray(value)) return value.map(fill);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, fill(v)]));
  return value;
}

// --- charts
function draw(div) {
  const figure = content.figures[div.dataset.figure];
  const { width, height, title, narrow, ...rest } = fill(figure.layout);
  const isNarrow = div.clientWidth < 520;
  const data = fill(figure.data);
  if (narrow && isNarrow) data.forEach((trace) => { trace.marker.size *= 0.7; });
  const axis = { gridcolor: palette("faint"), zerolinecolor: palette("faint"), linecolor: palette("muted"), automargin: true };
  const axes = { xaxis: { ...axis, ...rest.xaxis }, yaxis: { ...axis, ...rest.yaxis } };
  const layout = {
    margin: { l: 48, r: 12, t: title ? 34 : 12, b: 40 }, showlegend: false, dragmode: false, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", font: { color: palette("ink"), family: "system-ui, DejaVu Sans, sans-serif", size: 12 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: palette("muted"), activecolor: palette("ink") },
    hoverlabel: { bgcolor: palette("panel"), bordercolor: palette("muted"), font: { color: palette("ink") } },
    ...rest, ...(isNarrow ? narrow : {}), ...axes, autosize: true,
    ...(title ? { title: { ...title, x: 0, xanchor: "left", y: 0.98, yanchor: "top", font: { size: 14 } } } : {}),
  };
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
  const config = { responsive: true, displaylogo: false, displayModeBar: layout.dragmode ? "hover" : false, scrollZoom: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  return Plotly.react(div, data, layout, config).then(() => {
    if (clicked.has(div) && !div.dataset.drawn) div.on("plotly_click", (event) => clicked.get(div)(event.points[0].customdata));
    div.dataset.drawn = "yes";
  });
}

const isShown = (element) => !element.closest("[hidden]");
const drawAll = () => all(".plot").filter(isShown).forEach(draw);
all(".panel").forEach((panel) => {
  const choice = document.getElementById(panel.dataset.of);
  choice.addEventListener("change", () => {
    panel.hidden = panel.dataset.row !== choice.value;
    if (!panel.hidden) all(".plot", panel).forEach(draw);
  });
});

// --- clouds
const cloud = (key) => decode(content.clouds[key], Int8Array);
const describe = (canvas, words) => canvas.setAttribute("aria-label", `${words}. Arrow keys turn it, plus and minus zoom.`);
all("canvas[data-cloud]").forEach((canvas) => {
  new CloudView(canvas).show([{ points: cloud(canvas.dataset.cloud), color: "0" }]);
});

for (const [key, known] of Object.entries(content.data.reconstructions || {})) {
  const root = document.getElementById(key);
  const group = { ...TURN, views: [] };
  const views = Object.fromEntries(all("canvas", root).map((canvas) => [canvas.dataset.part, new CloudView(canvas, group)]));
  const [shape, ratio, said] = [".shape", ".ratio", ".said"].map((name) => root.querySelector(name));
  const show = () => {
    const picked = known.shapes[shape.value];
    const stop = picked.stops[ratio.value];
    const seen = { points: cloud(stop.visible), color: "0" };
    views.input.show([{ points: cloud(picked.input), color: "muted" }]);
    views.visible.show([seen]);
    views.rebuilt.show([seen, { points: cloud(stop.rebuilt), color: "3" }]);
    for (const [part, words] of [["input", "Input"], ["visible", "Visible patches"], ["rebuilt", "Reconstruction"]]) {
      describe(views[part].canvas, `${words} of ${picked.name}`);
    }
    ratio.setAttribute("aria-valuetext", `${known.ratios[ratio.value]} hidden`);
    said.textContent = `${picked.name}: ${known.ratios[ratio.value]} of the patches hidden, ` +
      `squared Chamfer distance x 1000: ${stop.chamfer}`;
  };
  shape.addEventListener("change", show);
  ratio.addEventListener("input", show);
  show();
}

for (const [key, known] of Object.entries(content.data.attention || {})) {
  const root = document.getElementById(key);
  const group = { ...TURN, views: [] };
  const views = all("canvas", root).map((canvas) => new CloudView(canvas, group));
  const [shape, layer, said] = [".shape", ".layer", ".said"].map((name) => root.querySelector(name));
  const show = () => {
    const picked = known.shapes[shape.value];
    const points = cloud(picked.cloud);
    const patches = decode(picked.patches, Uint16Array);
    known.queries.forEach((name, query) => {
      const weights = picked.weights[layer.value][query];
      const levels = decode(weights.levels, Uint8Array);
      views[query].show([{ points, color: "3", levels: Uint8Array.from(patches, (patch) => levels[patch]) }]);
      const words = `a fifth of the patches gets ${weights.top} % of it`;
      views[query].canvas.parentElement.querySelector(".share").textContent = words;
      describe(views[query].canvas, `What the query ${name} attends to in ${picked.name}: ${words}`);
    });
    layer.setAttribute("aria-valuetext", `layer ${Number(layer.value) + 1} of ${known.layers}`);
    said.textContent = `${picked.name}, layer ${Number(layer.value) + 1} of ${known.layers}`;
  };
  shape.addEventListener("change", show);
  layer.addEventListener("input", show);
  show();
}

// --- maps: a click shows the cloud
for (const [key, objects] of Object.entries(content.data.maps || {})) {
  const plot = document.querySelector(`[data-figure="${key}"]`);
  const select = document.querySelector(`select[data-map="${key}"]`);
  const view = new CloudView(document.querySelector(`canvas[data-map="${key}"]`));
  const said = document.querySelector(`p[data-map="${key}"]`);
  const show = (row) => {
    const picked = objects[row];
    select.value = String(row);
    said.textContent = picked.name + (picked.cloud ? "" : " (no cloud)");
    describe(view.canvas, `Cloud of ${picked.name}`);
    view.show(picked.cloud ? [{ points: cloud(picked.cloud), color: "0" }] : []);
  };
  select.addEventListener("change", () => show(Number(select.value)));
  show(Number(select.value));
  clicked.set(plot, show);
}

// --- light and dark
const theme = document.getElementById("theme");
function setTheme(name) {
  document.documentElement.dataset.theme = name;
  theme.setAttribute("aria-pressed", String(name === "dark"));
  all("[data-color]").forEach((mark) => { mark.style.background = fill(mark.dataset.color); });
  drawAll();
  CloudView.all.forEach((view) => view.draw());
}
const remember = (key, value) => { try { sessionStorage.setItem(key, value); } catch (error) { /* a page from disk may not */ } };
const recall = (key) => { try { return sessionStorage.getItem(key); } catch (error) { return null; } };
const system = matchMedia("(prefers-color-scheme: dark)");
theme.addEventListener("click", () => {
  setTheme(isDark() ? "light" : "dark");
  remember("theme", document.documentElement.dataset.theme);
});
system.addEventListener("change", () => { if (!recall("theme")) setTheme(system.matches ? "dark" : "light"); });

// --- a page that is kept current
document.getElementById("made").textContent = `Made ${content.data.made}.`;
if (content.reload) {
  const box = document.querySelector("#reload input");
  document.getElementById("reload").hidden = false;
  box.checked = recall("reload") !== "no";
  box.addEventListener("change", () => remember("reload", box.checked ? "yes" : "no"));
  setInterval(() => { if (box.checked) location.reload(); }, content.reload * 1000);
}

setTheme(recall("theme") || (system.matches ? "dark" : "light"));
