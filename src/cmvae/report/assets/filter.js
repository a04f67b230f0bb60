// Which clusters are shown: none chosen means all. Whoever shows something is told when that changes.
const chosen = new Set();
const listeners = [];
const isShown = (c) => chosen.size === 0 || chosen.has(c);
const shownSum = (counts) => sum(counts.filter((_, c) => isShown(c)));
const shownSize = () => shownSum(data.clusters.map((cluster) => cluster.size));

function toggle(c) {
  if (chosen.has(c)) chosen.delete(c); else chosen.add(c);
  if (chosen.size === data.clusters.length) chosen.clear();
  listeners.forEach((update) => update());
}
function showAll() {
  chosen.clear();
  listeners.forEach((update) => update());
}

function buildChips() {
  const all = el("button", { type: "button", class: "all", onclick: showAll }, "All");
  const chips = data.clusters.map((cluster, c) => el(
    "button", { type: "button", "data-cluster": c, "aria-label": `Cluster ${cluster.name}, ${plural(cluster.size, "sample")}`, onclick: () => toggle(c) },
    mark(c), el("span", {}, cluster.name), el("span", { class: "count" }, count(cluster.size)),
  ));
  byId("chips").append(all, ...chips);
  listeners.push(() => {
    all.setAttribute("aria-pressed", String(chosen.size === 0));
    chips.forEach((chip, c) => chip.setAttribute("aria-pressed", String(chosen.has(c))));
    const names = [...chosen].sort((a, b) => a - b).map((c) => data.clusters[c].name);
    byId("status").textContent = chosen.size === 0
      ? `Showing all ${plural(data.n_samples, "sample")}. Choose clusters to see only these on the whole page.`
      : `Showing ${count(shownSize())} of ${plural(data.n_samples, "sample")}: ${names.length === 1 ? "cluster" : "clusters"} ${names.join(", ")}.`;
  });
}
