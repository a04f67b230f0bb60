// What went in, the samples, the clusters, the labels.
function buildOverview() {
  const head = [{ text: "Modality" }, { text: "Kind" }, { text: "Values" }, { text: "Samples that have it", kind: "number" }, { text: "" }];
  const nouns = { table: "table", images: "images", text: "texts" };
  listeners.push(() => {
    const n = shownSize();
    const complete = shownSum(data.patterns.reduce(
      (counts, p) => (p.observed.length && p.observed.every(Boolean) ? counts.map((k, c) => k + p.counts[c]) : counts),
      data.clusters.map(() => 0),
    ));
    const sure = shownSum(data.clusters.map((cluster) => cluster.size * (cluster.certainty ?? 0)));
    byId("tiles").replaceChildren(
      tile(count(n), chosen.size ? `of ${plural(data.n_samples, "sample")}` : n === 1 ? "sample" : "samples"),
      tile(count(data.modalities.length), data.modalities.length === 1 ? "modality" : "modalities"),
      tile(count(chosen.size || data.clusters.length), chosen.size ? `of ${plural(data.clusters.length, "cluster")}` : data.clusters.length === 1 ? "cluster" : "clusters"),
      tile(n ? percent(complete / n) : "–", "have every modality"),
      tile(n ? percent(sure / n) : "–", "mean certainty"),
    );
    const rows = data.modalities.map((m) => {
      const k = shownSum(m.observed);
      return el("tr", {}, el("th", { scope: "row" }, m.name), el("td", {}, nouns[m.kind]), el("td", {}, m.shape.join(" × ")),
        el("td", { class: "number" }, `${count(k)} (${n ? percent(k / n) : "–"})`), el("td", {}, bar(n ? k / n : 0)));
    });
    fill("modalities", table(`of ${plural(n, "sample")} shown`, head, rows), "Modalities");
    fill("patterns", patternTable(n), "Combinations of modalities");
  });
  buildColumns();
}

function buildColumns() {
  if (!data.columns.length) { byId("columns").remove(); return; }
  const head = [{ text: "Modality" }, { text: "Column" }, { text: "Taken for" }, { text: "Missing", kind: "number" }, { text: "Values" }];
  const rows = data.columns.map((c) => el("tr", {}, el("td", {}, c.modality), el("th", { scope: "row" }, c.name), el("td", {}, c.note ? `${c.kind}: ${c.note}` : c.kind),
    el("td", { class: "number" }, c.missing === null ? "–" : percent(c.missing)), el("td", {}, c.values)));
  const more = data.n_columns - data.columns.length;
  byId("columns-summary").textContent = `What the ${plural(data.n_columns, "column")} of the tables were taken for`;
  fill("columns-table", table(`missing: of the samples that have the modality${more ? `; ${plural(more, "more column")} are not shown` : ""}`, head, rows), "Columns of the tables");
}

function patternTable(n) {
  const head = [...data.modalities.map((m) => ({ text: m.name, kind: "dot" })), { text: "Samples", kind: "number" }, { text: "" }];
  const rows = data.patterns.map((p) => {
    const k = shownSum(p.counts);
    const dots = p.observed.length
      ? p.observed.map((has) => el("td", { class: "dot" }, el("span", { "aria-hidden": "true" }, has ? "●" : "○"), el("span", { class: "hidden" }, has ? "yes" : "no")))
      : [el("td", { colspan: data.modalities.length }, "other combinations")];
    return { k, row: el("tr", {}, ...dots, el("td", { class: "number" }, `${count(k)} (${n ? percent(k / n) : "–"})`), el("td", {}, bar(n ? k / n : 0))) };
  });
  return table("● has it, ○ lacks it", head, rows.filter((r) => r.k > 0).map((r) => r.row), "dots");
}

// One sample, as the panel and the tip show it.
function sampleParts(i, isTip) {
  const s = data.samples;
  const c = s.cluster[i];
  const facts = [el("dt", {}, "Cluster"), el("dd", {}, mark(c), ` ${data.clusters[c].name}, with probability ${percent(s.probability[i])}`)];
  if (s.label.length) facts.push(el("dt", {}, "Label"), el("dd", {}, data.agreement.labels[s.label[i]]));
  const lacking = data.modalities.filter((_, m) => hasModality(i, m) === false).map((m) => m.name);
  if (lacking.length) facts.push(el("dt", {}, "Lacks"), el("dd", {}, lacking.join(", ")));
  const pictures = data.modalities.map((m, k) => (m.sheet ? sampleFigure(m, k, i, isTip ? 64 : 112) : null));
  const texts = data.modalities.filter((m) => m.texts.length && m.texts[i]).map((m) => el("blockquote", {}, el("span", { class: "hidden" }, `${m.name}: `), m.texts[i]));
  const parts = [el("p", { class: "title", style: { margin: "0" } }, s.ids[i]), el("dl", { class: "facts" }, ...facts)];
  if (pictures.some(Boolean)) parts.push(el("div", { class: "pictures" }, ...pictures));
  parts.push(...texts);
  const telling = isTip ? s.telling[i].slice(0, 3) : s.telling[i];
  if (telling.length) parts.push(tellingTable(telling));
  return parts;
}

function sampleFigure(m, k, i, size) {
  if (hasModality(i, k) === false) return null;
  return el("figure", {}, picture(m.sheet, i, size, `${m.name} of sample ${data.samples.ids[i]}`), el("figcaption", {}, m.name));
}

function featureName(m, f) {
  const tables = data.modalities.filter((modality) => modality.kind === "table");
  const name = data.modalities[m].features[f];
  return tables.length > 1 ? `${data.modalities[m].name}: ${name}` : name;
}

function versus(difference, largest) {
  const share = 50 * Math.min(1, Math.abs(difference) / largest);
  return el("span", { class: "versus", "aria-hidden": "true" }, el("i", {
    class: difference < 0 ? "less" : "more",
    style: difference < 0 ? { right: "50%", width: `${share}%` } : { left: "50%", width: `${share}%` },
  }));
}

function tellingTable(entries) {
  const largest = Math.max(3, ...entries.map((entry) => Math.abs(entry[3])));
  const head = [{ text: "Most telling" }, { text: "Value", kind: "number" }, { text: "SD off", kind: "number" }, { text: "" }];
  const rows = entries.map(([m, f, value, score]) => el("tr", {}, el("th", { scope: "row" }, featureName(m, f)), el("td", { class: "number" }, number(value)),
    el("td", { class: "number" }, signed(score)), el("td", {}, versus(score, largest))));
  const made = table("", head, rows);
  made.querySelector("caption").remove();
  return el("div", { class: "small", style: { marginTop: "0.6rem" } }, made);
}

let current = 0;
function shownSamples() {
  return data.samples.cluster.map((c, i) => (isShown(c) ? i : -1)).filter((i) => i >= 0);
}

function showSample(i, redraw = true) {
  current = i;
  byId("sample").replaceChildren(...sampleParts(i, false));
  byId("pick").value = data.samples.ids[i];
  if (redraw) drawRing();
}

function step(by) {
  const shown = shownSamples();
  if (!shown.length) return;
  const place = shown.indexOf(current);
  showSample(shown[place < 0 ? 0 : (place + by + shown.length) % shown.length]);
}

function buildSamplePanel() {
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("ids").append(...data.samples.ids.map((id) => el("option", { value: id })));
  byId("pick").addEventListener("change", (event) => {
    const i = data.samples.ids.indexOf(event.target.value);
    if (i >= 0) showSample(i); else event.target.value = data.samples.ids[current];
  });
  listeners.push(() => {
    const shown = shownSamples();
    if (shown.length && !shown.includes(current)) showSample(shown[0], false);
    for (const id of ["previous", "next"]) byId(id).disabled = shown.length < 2;
  });
}

function commonLabel(c) {
  if (!data.agreement) return null;
  const counts = data.agreement.counts.map((row) => row[c]);
  const best = counts.indexOf(Math.max(...counts));
  return data.clusters[c].size ? `${data.agreement.labels[best]} (${percent(counts[best] / data.clusters[c].size)})` : "–";
}

const STABLE = 0.75;

function clusterCard(cluster, c) {
  const only = el("button", { type: "button", "aria-pressed": "false", "aria-label": `Show only cluster ${cluster.name}`, onclick: () => toggle(c) }, "Show only this");
  const facts = [["Size", `${plural(cluster.size, "sample")} (${percent(cluster.size / data.n_samples)}); the model expects ${percent(cluster.weight)}`]];
  if (cluster.size) facts.push(["Certainty", `${percent(cluster.certainty)} on average; ${cluster.unsure ? count(cluster.unsure) : "none"} below 50 %`]);
  if (cluster.stability !== null) facts.push(["Stability", `${cluster.stability.toFixed(2)}${cluster.stability >= STABLE ? ", stable" : ""}`]);
  if (data.agreement) facts.push(["Mostly", commonLabel(c)]);
  const card = el("article", { class: "card cluster", "data-cluster": c, "aria-labelledby": `cluster-${c}` },
    el("header", {}, el("h3", { id: `cluster-${c}` }, mark(c), `Cluster ${cluster.name}`), only),
    el("dl", { class: "facts" }, facts.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)])),
    prototypes(cluster, c), nearest(cluster), differences(cluster));
  listeners.push(() => {
    card.hidden = !isShown(c);
    only.setAttribute("aria-pressed", String(chosen.has(c)));
  });
  return card;
}

function prototypes(cluster, c) {
  const made = data.modalities.filter((m) => m.prototypes).map((m) => {
    const each = m.prototypes.count / data.clusters.length;
    const draws = [...Array(each - 1).keys()].map((k) => picture(m.prototypes, c * each + k + 1, 44, `${m.name}, drawn from cluster ${cluster.name}`));
    return el("figure", {}, el("div", { class: "prototype" }, picture(m.prototypes, c * each, 80, `${m.name}, generated at the centre of cluster ${cluster.name}`), ...draws),
      el("figcaption", {}, `${m.name}: at the centre, and ${each - 1} drawn`));
  });
  const texts = Object.entries(cluster.texts).map(([name, text]) => el("blockquote", {}, `${name}: ${text || "(empty)"}`));
  return made.length + texts.length ? el("div", {}, el("h4", {}, "What the model generates"), el("div", { class: "pictures" }, ...made), ...texts) : null;
}

function nearest(cluster) {
  if (!cluster.nearest.length) return null;
  const pictured = data.modalities.map((m, k) => [m, k]).filter(([m]) => m.sheet);
  const items = cluster.nearest.map((i) => {
    const id = data.samples.ids[i];
    const pictures = pictured.map(([m, k]) => (hasModality(i, k) === false
      ? el("span", { class: "absent", title: `lacks ${m.name}`, style: { width: "40px", height: `${Math.round((40 * m.sheet.height) / Math.max(m.sheet.width, m.sheet.height))}px` } }, "–")
      : picture(m.sheet, i, 40, "")));
    pictures.forEach((p) => { p.removeAttribute("role"); p.removeAttribute("aria-label"); p.setAttribute("aria-hidden", "true"); });
    return el("li", {}, el("button", {
      type: "button", class: pictures.length ? "" : "plain", title: id, "aria-label": `Show sample ${id} on the map`, onclick: () => {
        showSample(i);
        byId("map").scrollIntoView();
      },
    }, ...pictures, el("span", { class: "id" }, id)));
  });
  return el("div", {}, el("h4", {}, "Members nearest to the centre"), el("ul", { class: "members" }, ...items));
}

// Where the values of a cluster lie, filled, and those of all others, as a line.
function histogram(h) {
  const scale = (counts) => { const most = Math.max(...counts, 1); return counts.map((n) => n / most); };
  const [here, elsewhere] = [h.inside, h.outside].map(scale);
  const [width, height] = [here.length * 6, 22];
  const made = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const svg = made("svg", { viewBox: `0 0 ${width} ${height}`, class: "histogram", role: "img", preserveAspectRatio: "none" });
  svg.setAttribute("aria-label", `Histogram from ${number(h.low)} to ${number(h.high)}`);
  const title = made("title", {});
  title.textContent = `from ${number(h.low)} to ${number(h.high)}`;
  const step = (share) => height - 1 - share * (height - 3);
  const line = elsewhere.map((share, i) => `H${i * 6}V${step(share)}H${i * 6 + 6}`).join("");
  svg.append(title,
    ...here.map((share, i) => made("rect", { x: i * 6, y: step(share), width: 5.4, height: height - 1 - step(share), class: "here" })),
    made("path", { d: `M0 ${height - 1}${line}V${height - 1}`, class: "elsewhere" }));
  return svg;
}

// Two shares: the cluster's filled, that of all others as a line.
function shares(inside, outside) {
  return el("span", { class: "shares", "aria-hidden": "true" },
    el("i", { class: "here", style: { width: `${100 * (inside ?? 0)}%` } }), el("i", { class: "elsewhere", style: { width: `${100 * (outside ?? 0)}%` } }));
}

function differences(cluster) {
  if (!cluster.differences.length) return null;
  const head = [{ text: "Feature" }, { text: "Effect size", kind: "number" }, { text: "Here and elsewhere" }, { text: "Here", kind: "number" }, { text: "Elsewhere", kind: "number" }, { text: "Generated", kind: "number" }];
  const rows = cluster.differences.map((d) => {
    const shown = (x) => (x === null ? "–" : d.is_share ? percent(x) : number(x));
    return el("tr", {}, el("th", { scope: "row" }, featureName(d.modality, d.feature)),
      el("td", { class: "number" }, el("span", { class: "symbol" }, `${d.symbol} `), effectSize(d),
        d.p === null ? null : el("div", { class: "symbol" }, d.p < 1e-4 ? "p < 0.0001" : `p ${d.p.toFixed(4)}`)),
      el("td", {}, d.histogram ? histogram(d.histogram) : shares(d.inside, d.outside)),
      ...[d.inside, d.outside, d.generated].map((x) => el("td", { class: "number" }, shown(x))));
  });
  const made = table("", head, rows);
  made.querySelector("caption").remove();
  return el("div", { class: "small" }, el("h4", {}, "What sets it apart"), el("div", { class: "scroll", role: "region", "aria-label": `What sets cluster ${cluster.name} apart`, tabindex: "0" }, made));
}

function buildClusters() {
  const hasTable = data.clusters.some((cluster) => cluster.differences.length);
  byId("clusters-note").textContent = "Certainty is the mean probability with which members belong to their cluster."
    + (data.clusters.some((cluster) => cluster.stability !== null) ? ` Stability is how closely the competing partitions, from which the clusters started, agree on a cluster: 1 where all have the same samples in it; from ${STABLE} it is called stable.` : "")
    + (hasTable ? " What sets a cluster apart is told by effect sizes of its mean beside that of all other samples: of numbers Cohen’s d, the difference in pooled standard deviations (of heavy tails after their transform); of shares Cohen’s h; of counts the logarithm of their ratio, log₂. p is of Welch’s t-test (of counts by their logarithms), adjusted for all columns of a modality after Benjamini and Hochberg; the clusters were found in these samples, so that it puts columns in an order and does not tell whether there is a cluster. “Generated” is the mean of what the model draws from the cluster. In the small pictures the cluster is filled and all others are a line; profiles.csv has all columns." : "")
    + data.modalities.filter((m) => m.scaled_to !== null).map((m) => ` Counts of ${m.name} are scaled to ${number(m.scaled_to)} in each sample.`).join("");
  byId("cards").append(...data.clusters.map(clusterCard));
}

function buildLabels() {
  if (!data.agreement) { byId("labels").remove(); return; }
  const { labels, counts, scores } = data.agreement;
  const names = { ACC: "accuracy under the best matching", NMI: "normalised mutual information", ARI: "adjusted Rand index" };
  byId("scores").append(...Object.entries(scores).map(([name, value]) => tile(value.toFixed(3), `${name}, ${names[name]}`)));
  fill("confusion", crossed("Label", "samples by label (rows) and cluster (columns)", labels, counts), "Labels by clusters");
}

// Samples by names (rows) and clusters (columns), of the clusters that are shown.
function crossed(heading, caption, names, counts) {
  const head = [{ text: heading }, ...data.clusters.map((cluster) => ({ text: cluster.name })), { text: "All", kind: "number" }];
  const rows = counts.map((row, k) => {
    const total = sum(row);
    const cells = row.map((n) => el("td", { style: { background: `color-mix(in srgb, var(--accent) ${Math.round((42 * n) / Math.max(1, total))}%, transparent)` }, title: percent(n / Math.max(1, total)) }, count(n)));
    return el("tr", {}, el("th", { scope: "row" }, names[k]), ...cells, el("td", {}, count(total)));
  });
  const made = table(caption, head, rows, "cells");
  listeners.push(() => {
    for (const row of made.rows) data.clusters.forEach((_, c) => { row.cells[c + 1].hidden = !isShown(c); });
    [...made.tBodies[0].rows].forEach((row, k) => { row.hidden = shownSum(counts[k]) === 0; });
  });
  return made;
}

function buildCovariates() {
  if (!data.covariates.length) { byId("covariates").remove(); return; }
  for (const { name, levels, counts, means, scores } of data.covariates) {
    const words = levels.length
      ? `Normalised mutual information with the clusters ${scores.NMI.toFixed(3)}, adjusted for chance ${scores.AMI.toFixed(3)}. From the latents it is told with a balanced accuracy of ${percent(scores.accuracy)}, by chance ${percent(scores.chance)}.`
      : `Clusters explain ${percent(scores["R2 clusters"])} of its variance, latents ${percent(scores.R2)}.`;
    const region = el("div", { class: "scroll", id: `covariate-${name}` });
    byId("covariate-tables").append(el("h3", {}, name), el("p", { class: "note" }, words), region);
    const rows = [el("tr", {}, el("th", { scope: "row" }, "Mean"), ...means.map((x) => el("td", {}, x === null ? "–" : number(x))))];
    const head = [{ text: name }, ...data.clusters.map((cluster) => ({ text: cluster.name }))];
    const made = levels.length ? crossed(name, `samples by ${name} (rows) and cluster (columns)`, levels, counts) : table(`mean of ${name} by cluster`, head, rows, "cells");
    fill(region.id, made, `${name} by clusters`);
  }
}

function buildChecks() {
  if (!data.checks.length) { byId("checks").remove(); return; }
  const names = { means: "Mean", zeros: "Share of zeros", spreads: "Spread of log(1 + count)", correlations: "Correlations of pairs" };
  const head = [{ text: "Modality" }, { text: "Statistic" }, { text: "Data", kind: "number" }, { text: "Made", kind: "number" }, { text: "Error of one", kind: "number" }, { text: "Outside", kind: "number" }, { text: "Outside by chance", kind: "number" }];
  const rows = data.checks.map((c) => el("tr", {}, el("th", { scope: "row" }, c.modality), el("td", {}, names[c.statistic]),
    ...[number(c.data), number(c.replicated), c.statistic === "means" || c.statistic === "spreads" ? percent(c.error) : number(c.error), percent(c.outside), percent(c.expected)].map((x) => el("td", { class: "number" }, x))));
  fill("checks-table", table("counts of the data and counts that the model makes", head, rows), "Checks of counts");
}
