// Figures, by plotly. Paper is light whatever the screen is.
const dark = matchMedia("(prefers-color-scheme: dark)");
const coarse = matchMedia("(pointer: coarse)");
let printing = false;
const PAPER_WIDTH = 680;
const theme = () => data.themes[dark.matches && !printing ? "dark" : "light"];
const config = { responsive: true, displayModeBar: false, displaylogo: false, scrollZoom: false, doubleClick: "reset" };

function layout(changes, height) {
  const t = theme();
  const axis = { gridcolor: t.line, zerolinecolor: t.line, linecolor: t.muted, tickcolor: t.muted, automargin: true, fixedrange: true };
  const size = printing ? { width: PAPER_WIDTH, height, autosize: false } : { autosize: true };
  return {
    ...size, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: 13, color: t.ink }, margin: { l: 50, r: 16, t: 16, b: 44 },
    hoverlabel: { bgcolor: t.page, bordercolor: t.muted, font: { color: t.ink } }, ...changes,
    xaxis: { ...axis, ...changes.xaxis }, yaxis: { ...axis, ...changes.yaxis },
  };
}

// The map: groups of samples by cluster, label or pattern.
const colourings = {
  cluster: { text: "cluster", of: data.samples.cluster, names: data.clusters.map((cluster) => cluster.name) },
  label: { text: "label", of: data.samples.label, names: data.agreement ? data.agreement.labels : [] },
  pattern: { text: "modalities observed", of: data.samples.pattern, names: data.patterns.map(patternName) },
};
let colourBy = "cluster";
let range = null;

function groupTrace(group, members, size) {
  const t = theme();
  return {
    type: "scatter", mode: "markers", hoverinfo: "none", name: plain(colourings[colourBy].names[group]),
    x: members.map((i) => data.samples.x[i]), y: members.map((i) => data.samples.y[i]), customdata: members,
    marker: { symbol: shapeOf(group)[0], size, color: t[colourOf(group)], opacity: 0.85, line: { width: 0.5, color: t.page } },
  };
}

function mapTraces() {
  const t = theme();
  const { of, names } = colourings[colourBy];
  const n = data.samples.ids.length;
  const size = Math.max(5, Math.min(10, 190 / Math.sqrt(n)));
  const groups = names.map(() => []);
  const rest = [];
  for (let i = 0; i < n; i += 1) (isShown(data.samples.cluster[i]) ? groups[of[i]] : rest).push(i);
  const at = (members) => ({ x: members.map((i) => data.samples.x[i]), y: members.map((i) => data.samples.y[i]) });
  const faded = { type: "scatter", mode: "markers", hoverinfo: "skip", ...at(rest), marker: { size: size * 0.6, color: t.muted, opacity: 0.25 } };
  const ring = {
    type: "scatter", mode: "markers", hoverinfo: "skip", ...at([current]),
    marker: { symbol: "circle-open", size: size + 11, color: t.ink, line: { width: 2.5, color: t.ink } },
  };
  return { groups, traces: [faded, ...groups.map((members, g) => groupTrace(g, members, size)), ring] };
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function groupNames(groups) {
  const t = theme();
  if (colourBy === "pattern") return [];
  return groups.map((members, g) => [members, colourings[colourBy].names[g]]).filter(([members, name]) => members.length && name.length <= 24).map(([members, name]) => ({
    x: median(members.map((i) => data.samples.x[i])), y: median(members.map((i) => data.samples.y[i])), text: `<b>${plain(name)}</b>`,
    showarrow: false, captureevents: false, bgcolor: t.page, bordercolor: t.muted, borderwidth: 1, borderpad: 2, opacity: 0.9, font: { size: 12, color: t.ink },
  }));
}

function wholeRange() {
  const span = (values) => {
    const low = Math.min(...values);
    const high = Math.max(...values);
    const margin = 0.05 * (high - low) || 1;
    return [low - margin, high + margin];
  };
  return { x: span(data.samples.x), y: span(data.samples.y) };
}

function drawMap() {
  const { groups, traces } = mapTraces();
  const bare = { showticklabels: false, ticks: "", zeroline: false, showgrid: false, showline: false, fixedrange: false };
  const changes = {
    xaxis: { ...bare, range: [...range.x], title: { text: `${data.projection} 1`, standoff: 4 } }, yaxis: { ...bare, range: [...range.y], title: { text: `${data.projection} 2`, standoff: 4 } },
    annotations: groupNames(groups), dragmode: coarse.matches ? false : "zoom", margin: { l: 30, r: 10, t: 10, b: 30 },
  };
  Plotly.react("map-plot", traces, layout(changes, 560), config);
  const total = data.samples.ids.length;
  byId("map-plot").setAttribute("aria-label", `Map of ${plural(total, "sample")}, coloured by ${colourings[colourBy].text}, ${count(sum(groups.map((g) => g.length)))} of them highlighted. The panel beside it shows them one by one.`);
  drawKey(groups);
}

function drawRing() {
  const plot = byId("map-plot");
  if (!plot.data) return;
  Plotly.restyle(plot, { x: [[data.samples.x[current]]], y: [[data.samples.y[current]]] }, [plot.data.length - 1]);
}

function drawKey(groups) {
  const isCluster = colourBy === "cluster";
  const focused = byId("key").contains(document.activeElement) ? document.activeElement.dataset.cluster : null;
  byId("key").replaceChildren(...colourings[colourBy].names.map((name, g) => el("li", {}, isCluster
    ? el("button", { type: "button", "data-cluster": g, "aria-pressed": String(chosen.has(g)), "aria-label": `Cluster ${name}`, onclick: () => toggle(g) }, mark(g), name)
    : el("span", { class: "entry" }, mark(g), `${name} (${count(groups[g].length)})`))));
  if (focused !== null) byId("key").querySelector(`[data-cluster="${focused}"]`).focus();
}

function zoom(factor) {
  for (const axis of ["x", "y"]) {
    const [low, high] = range[axis];
    const middle = (low + high) / 2;
    range[axis] = [middle - ((high - low) / 2) * factor, middle + ((high - low) / 2) * factor];
  }
  drawMap();
}

function moveTip(event) {
  const tip = byId("tip");
  const box = tip.getBoundingClientRect();
  const right = event.clientX + 16 + box.width < innerWidth;
  tip.style.left = `${Math.max(4, right ? event.clientX + 16 : event.clientX - box.width - 16)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 16, innerHeight - box.height - 4))}px`;
}

function buildMap() {
  const total = data.samples.ids.length;
  const of = total < data.n_samples ? `${count(total)} of ${plural(data.n_samples, "sample")}, drawn at random besides those nearest to the centres` : `all ${plural(total, "sample")}`;
  const how = data.projection === "t-SNE"
    ? "t-SNE of the shared latent means, started from their principal components: near is alike, but distances between groups and their sizes mean little."
    : "the first two principal components of the shared latent means.";
  byId("map-note").replaceChildren(`The plane shows ${of}, by ${how}`,
    el("span", { class: "screen" }, ` Point at a sample to see it, click to keep it in the panel${coarse.matches ? "." : ", drag to zoom."}`));
  const offered = Object.keys(colourings).filter((by) => (by === "label" ? data.agreement : by === "pattern" ? data.patterns.length > 1 : true));
  byId("colours").hidden = offered.length < 2;
  for (const by of offered) {
    const input = el("input", { type: "radio", name: "colour", value: by, checked: by === colourBy });
    input.addEventListener("change", () => { colourBy = by; drawMap(); });
    byId("colours").append(el("label", {}, input, colourings[by].text));
  }
  range = wholeRange();
  drawMap();
  byId("zoom-in").addEventListener("click", () => zoom(0.7));
  byId("zoom-out").addEventListener("click", () => zoom(1 / 0.7));
  byId("zoom-all").addEventListener("click", () => { range = wholeRange(); drawMap(); });
  listenToMap(byId("map-plot"));
  listeners.push(drawMap);
}

function listenToMap(plot) {
  plot.on("plotly_hover", (event) => {
    byId("tip").replaceChildren(...sampleParts(event.points[0].customdata, true));
    byId("tip").hidden = false;
    moveTip(event.event);
  });
  plot.on("plotly_unhover", () => { byId("tip").hidden = true; });
  plot.on("plotly_click", (event) => showSample(event.points[0].customdata));
  plot.on("plotly_doubleclick", () => { range = wholeRange(); drawMap(); return false; });
  plot.on("plotly_relayout", (changes) => {
    for (const axis of ["x", "y"]) {
      const low = changes[`${axis}axis.range[0]`];
      if (low !== undefined) range[axis] = [low, changes[`${axis}axis.range[1]`]];
    }
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape") byId("tip").hidden = true; });
}

// Training: a quantity by epoch, on training and on validation data.
const DASHES = { train: "solid", val: "dash" };
const split = (name) => (name.includes("/") ? [name.slice(0, name.indexOf("/")), name.slice(name.indexOf("/") + 1)] : ["", name]);
const readable = (name) => name.replace(/_/g, " ");

function buildTraining() {
  const names = Object.keys(data.history).filter((name) => data.history[name].some((value) => value !== null));
  if (!names.length) { byId("training").remove(); return; }
  const quantities = [...new Set(names.map((name) => split(name)[1]))].sort((a, b) => (b === "loss") - (a === "loss"));
  byId("quantity").append(...quantities.map((q) => el("option", { value: q }, readable(q))));
  byId("quantity").addEventListener("change", drawTraining);
  drawTraining();
}

function drawTraining() {
  if (!byId("training")) return;
  const t = theme();
  const quantity = byId("quantity").value;
  const curves = Object.keys(data.history).filter((name) => split(name)[1] === quantity);
  const traces = curves.map((name, k) => {
    const points = data.history[name].map((value, epoch) => [epoch + 1, value]).filter(([, value]) => value !== null);
    const stage = { train: "training", val: "validation" }[split(name)[0]] || split(name)[0] || readable(quantity);
    return {
      type: "scatter", mode: points.length < 30 ? "lines+markers" : "lines", name: plain(stage), x: points.map((p) => p[0]), y: points.map((p) => p[1]),
      line: { color: t[colourOf([0, 3, 2, 5][k % 4])], width: 2.2, dash: DASHES[split(name)[0]] || "solid" }, marker: { size: 6, symbol: shapeOf(k)[0] },
      hovertemplate: "epoch %{x}: %{y:.5g}",
    };
  });
  const changes = { xaxis: { title: { text: "epoch" }, range: [0.7, Math.max(...traces.flatMap((trace) => trace.x), 1) + 0.3] }, yaxis: { title: { text: plain(readable(quantity)) } }, showlegend: traces.length > 1, legend: { orientation: "h", y: 1.12, x: 0 } };
  Plotly.react("training-plot", traces, layout(changes, 300), config);
  const told = traces.filter((trace) => trace.y.length).map((trace) => `${trace.name}: from ${number(trace.y[0])} to ${number(trace.y.at(-1))} in ${plural(trace.x.at(-1), "epoch")}`).join("; ");
  byId("training-note").textContent = `${readable(quantity)}, ${told}. Of the whole run, whatever clusters are chosen above.`;
  byId("training-plot").setAttribute("aria-label", `Curve of ${readable(quantity)}: ${told}`);
}

// The number of clusters: the score of each that was compared.
function buildSelection() {
  if (!data.evidence) { byId("selection").remove(); return; }
  const { numbers, scores } = data.evidence;
  byId("selection-note").textContent = howSure();
  if (!numbers.length) {
    byId("selection-plot").remove();
    byId("selection-table").parentElement.remove();
    return;
  }
  const rows = numbers.map((size, i) => el("tr", {}, el("th", { scope: "row", class: "number" }, size), el("td", { class: "number" }, number(scores[i])), el("td", {}, remark(size))));
  fill("selection-table", table("", [{ text: "Clusters", kind: "number" }, { text: "Score", kind: "number" }, { text: "" }], rows), "Score by number of clusters");
  drawSelection();
}

function remark(size) {
  const { chosen: best, runner_up: next } = data.evidence;
  const remarks = [[best, "chosen"], [next, "next best"], [data.clusters.length, size === best ? "" : "kept"]];
  return remarks.filter(([of, text]) => of === size && text).map(([, text]) => text).join(", ");
}

function howSure() {
  const { numbers, chosen: best, runner_up: next, share, strength } = data.evidence;
  const kept = data.clusters.length;
  if (!numbers.length) {
    return strength < 0
      ? `The neighbour graph of the samples shows no more structure than those of single clouds of the same covariance (the difference is ${number(strength)}): one cluster.`
      : "No numbers were compared.";
  }
  return "The score of each number of clusters, by how well the samples’ neighbour graph falls into so many groups: higher is better. "
    + `Chosen: ${best}; in ${percent(share)} of random subsets of the samples the same number wins${next === null ? "" : `; next best: ${next}`}. `
    + `There is more structure than in single clouds of the same covariance, by ${number(strength)} (at most 0 would mean one cluster).`
    + (kept === best ? "" : ` ${plural(kept, "cluster")} kept samples.`);
}

function drawSelection() {
  if (!byId("selection-plot")) return;
  const t = theme();
  const { numbers, scores, chosen: best } = data.evidence;
  const top = scores[numbers.indexOf(best)];
  const traces = [{
    type: "scatter", mode: "lines+markers", x: numbers, y: scores,
    line: { color: t.g0, width: 2.2 }, marker: { size: 7 }, hovertemplate: "%{x} clusters: %{y:.3g}<extra></extra>",
  }, { type: "scatter", mode: "markers", x: [best], y: [top], hoverinfo: "skip", marker: { symbol: "star", size: 17, color: t.g3, line: { width: 1, color: t.ink } } }];
  const changes = {
    xaxis: { title: { text: "number of clusters" }, dtick: numbers.length <= 16 ? 1 : undefined }, yaxis: { title: { text: "score" } },
    shapes: [{ type: "line", x0: best, x1: best, yref: "paper", y0: 0, y1: 1, line: { color: t.g3, width: 1.5, dash: "dot" } }],
    annotations: [{ x: best, yref: "paper", y: 1, yanchor: "bottom", text: `chosen: ${best}`, showarrow: false, font: { size: 13, color: t.ink } }], margin: { l: 50, r: 16, t: 30, b: 44 },
  };
  Plotly.react("selection-plot", traces, layout(changes, 300), config);
  byId("selection-plot").setAttribute("aria-label", `Score by number of clusters; the best is ${best}, with ${number(top)}.`);
}
