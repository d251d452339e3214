"use strict";
const $ = id => document.getElementById(id);

async function unpack(id) {
  const bytes = Uint8Array.from(atob($(id).textContent.trim()), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

let page;

/* ---- figures ---- */
function colors() {
  const style = getComputedStyle(document.documentElement), get = name => style.getPropertyValue(name).trim();
  return {ink: get("--ink"), rule: get("--rule"), card: get("--card")};
}
function themed(layout) {
  const {ink, rule, card} = colors(), axis = {gridcolor: rule, zerolinecolor: rule, linecolor: rule};
  const axes = Object.fromEntries(Object.keys(layout).filter(name => /^[xy]axis/.test(name)).map(name => [name, {...layout[name], ...axis}]));
  return {...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: ink, size: 13, family: "system-ui, sans-serif"},
          hoverlabel: {bgcolor: card, font: {color: ink}}, ...axes};
}
function onDark(color) {                       // a third of the way to white, so that navy can be seen
  return color.replace(/[0-9a-f]{2}/gi, pair => Math.round(parseInt(pair, 16) * 2 / 3 + 85).toString(16));
}
function lit(trace) {
  if (document.documentElement.dataset.theme !== "dark") return trace;
  const paint = name => trace[name] && {[name]: {...trace[name], color: onDark(trace[name].color)}};
  return {...trace, ...paint("line"), ...paint("marker")};
}
function drawFigures() {
  for (const [name, figure] of Object.entries(page.figures))
    Plotly.react($("figure-" + name), figure.data.map(lit), themed(figure.layout), {responsive: true, displaylogo: false, displayModeBar: false});
}
async function loadPlotly() {
  const script = document.createElement("script");
  script.text = await unpack("plotly");
  document.head.append(script);
}
function trouble(error) {
  $("trouble").hidden = false;
  $("trouble").textContent = `This browser cannot draw the figures (${error.message}); the same numbers are in the files beside this page.`;
  throw error;
}

/* ---- light and dark ---- */
const dark = matchMedia("(prefers-color-scheme: dark)");
function theme(name) { document.documentElement.dataset.theme = name; if (page && window.Plotly) drawFigures(); }
theme(dark.matches ? "dark" : "light");
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
$("theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
let before;
addEventListener("beforeprint", () => { before = document.documentElement.dataset.theme; theme("light"); });
addEventListener("afterprint", () => theme(before));
