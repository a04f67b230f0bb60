// Builds the page, and draws its figures again when the colours change or it is printed.
function buildFrame() {
  byId("lead").textContent = `${plural(data.n_samples, "sample")} seen through ${plural(data.modalities.length, "modality", "modalities")}, in ${plural(data.clusters.length, "cluster")}.`;
  for (const heading of document.querySelectorAll("main > section > h2")) {
    byId("contents").append(el("li", {}, el("a", { href: `#${heading.parentElement.id}` }, heading.textContent)));
  }
  const rules = { mean: "the largest average of p(c|z) over its modalities", vote: "the majority of its modalities", joint: "the largest p(c|z) at the mean of its joint posterior" };
  byId("footer").textContent = `Made by cmvae ${data.version}. A sample’s cluster is the one with ${rules[data.rule] || data.rule}. `
    + "Nearest to a centre are the members whose latent mean is the most probable under the cluster. Pictures and texts generated at a centre have private latents of zero.";
}

function redraw() {
  drawMap();
  drawTraining();
  drawSelection();
}

buildChips();
buildOverview();
buildSamplePanel();
buildMap();
buildClusters();
buildLabels();
buildCovariates();
buildChecks();
buildTraining();
buildSelection();
buildFrame();
showSample(data.clusters.flatMap((cluster) => cluster.nearest)[0] ?? 0);
listeners.forEach((update) => update());
dark.addEventListener("change", redraw);
addEventListener("beforeprint", () => { printing = true; redraw(); });
addEventListener("afterprint", () => { printing = false; redraw(); });
document.documentElement.dataset.ready = "yes";
