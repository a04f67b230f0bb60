// What the page is about, and how its pieces are made. Texts of the user only ever become text nodes.
const data = JSON.parse(document.getElementById("report-data").textContent);
const byId = (id) => document.getElementById(id);

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (name === "style") Object.assign(node.style, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined).map((c) => (typeof c === "number" ? String(c) : c)));
  return node;
}

const whole = new Intl.NumberFormat("en");
const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const count = (n) => whole.format(n);
function number(x) {
  if (x === null || x === undefined) return "–";
  const size = Math.abs(x);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? x.toExponential(2) : digits.format(x);
  return text.replace(/-/g, "−");
}
const effectSize = (d) => (d.effect === null ? (d.inside < d.outside ? "−∞" : "∞") : signed(d.effect));
const signed = (x) => (x > 0 ? "+" : x < 0 ? "−" : "") + Math.abs(x).toFixed(2);
const percent = (share) => {
  const p = 100 * share;
  return (p > 0 && p < 0.95) || (p > 99.05 && p < 100) ? `${p.toFixed(1)} %` : `${Math.round(p)} %`;
};
const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
const sum = (values) => values.reduce((total, value) => total + value, 0);
// What plotly shows may hold markup of its own; in texts of the user nothing is markup.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

const N_COLOURS = Object.keys(data.themes.light).filter((name) => /^g\d+$/.test(name)).length;
const SHAPES = [
  ["circle", "M8 2a6 6 0 1 0 .01 0z"],
  ["square", "M2.5 2.5h11v11h-11z"],
  ["triangle-up", "M8 1.5l6.8 12H1.2z"],
  ["diamond", "M8 .8L15.2 8 8 15.2.8 8z"],
  ["cross", "M5.7 1.5h4.6v4.2h4.2v4.6h-4.2v4.2H5.7v-4.2H1.5V5.7h4.2z"],
  ["triangle-down", "M8 14.5l6.8-12H1.2z"],
  ["x", "M4.7 1.5L8 4.8l3.3-3.3 3.2 3.2L11.2 8l3.3 3.3-3.2 3.2L8 11.2l-3.3 3.3-3.2-3.2L4.8 8 1.5 4.7z"],
  ["pentagon", "M8 1l7 5.1-2.7 8.4H3.7L1 6.1z"],
  ["star", "M8 .5l1.9 5.2 5.6.2-4.4 3.4 1.5 5.3L8 11.5l-4.6 3.1 1.5-5.3L.5 5.9l5.6-.2z"],
];
const shapeOf = (group) => SHAPES[group % SHAPES.length];
const colourOf = (group) => `g${group % N_COLOURS}`;

function mark(group) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", shapeOf(group)[1]);
  path.style.fill = `var(--${colourOf(group)})`;
  svg.append(path);
  return svg;
}

function tile(value, name) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}

function table(caption, head, rows, kind = "") {
  const header = el("tr", {}, head.map((h) => el("th", { scope: "col", class: h.kind }, h.text)));
  return el("table", { class: kind }, el("caption", {}, caption), el("thead", {}, header), el("tbody", {}, rows));
}

function bar(share) {
  return el("span", { class: "bar", "aria-hidden": "true" }, el("i", { style: { width: `${100 * share}%` } }));
}

// One picture of a sheet, at least as large as wished; pictures of few pixels are enlarged.
function picture(sheet, place, wished, description) {
  const scale = wished / Math.max(sheet.width, sheet.height);
  const width = Math.round(sheet.width * scale);
  const height = Math.round(sheet.height * scale);
  const down = Math.ceil(sheet.count / sheet.across);
  const column = place % sheet.across;
  const row = Math.floor(place / sheet.across);
  return el("span", {
    class: "picture", role: "img", "aria-label": description, style: {
      width: `${width}px`, height: `${height}px`, backgroundImage: `url(${sheet.uri})`,
      backgroundSize: `${sheet.across * width}px ${down * height}px`,
      backgroundPosition: `${-column * width}px ${-row * height}px`,
    },
  });
}

// A table that is too wide is scrolled by keyboard too.
function fill(id, node, name) {
  const region = byId(id);
  region.replaceChildren(node);
  region.setAttribute("role", "region");
  region.setAttribute("aria-label", name);
  const isWide = () => { if (region.scrollWidth > region.clientWidth + 1) region.tabIndex = 0; else region.removeAttribute("tabindex"); };
  isWide();
  if (!region.watched) { region.watched = true; addEventListener("resize", isWide); }
}

const clusterName = (c) => `cluster ${data.clusters[c].name}`;
const hasModality = (i, m) => {
  const observed = data.patterns[data.samples.pattern[i]].observed;
  return observed.length ? observed[m] : null;
};
function patternName(pattern) {
  if (!pattern.observed.length) return "other combinations";
  const names = data.modalities.filter((_, m) => pattern.observed[m]).map((modality) => modality.name);
  return names.length === data.modalities.length && names.length > 1 ? "all modalities" : names.join(" + ");
}
