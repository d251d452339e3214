/* ---- the table of chips: pure functions, then the drawing ---- */
function compare(a, b, column, up) {
  const x = a[column], y = b[column];
  if (x === null || y === null) return (x === null) - (y === null);   // what is missing comes last
  const order = typeof x === "string" ? x.localeCompare(y, "en", {numeric: true}) : x - y;
  return up ? order : -order;
}
function matches(row, words, which) {
  const passes = row[row.length - 2], salvageable = row[row.length - 1];
  if (which === "pass" && !passes || which === "fail" && (passes || !salvageable) || which === "unsalvageable" && salvageable) return false;
  const text = (row[0] + " " + row[2]).toLowerCase();
  return words.toLowerCase().split(/\s+/).every(word => text.includes(word));
}
function format(value, kind, share) {
  if (value === null || value === "") return "–";
  if (kind === "flag") return value ? "yes" : "no";
  if (kind === "share") return (100 * value).toFixed(1) + "%";
  if (kind === "metric") return share ? (100 * value).toFixed(2) + "%" : value.toPrecision(4);
  if (kind === "number") return value.toFixed(2);
  return String(value);
}
function cells(encoded, shape) {                 // 0..255 a PE or block, rows first
  const bytes = Uint8Array.from(atob(encoded), c => c.charCodeAt(0));
  if (!shape.exact) return bytes;
  return Uint8Array.from({length: shape.rows * shape.cols}, (_, i) => bytes[i >> 3] >> (7 - (i & 7)) & 1 ? 255 : 0);
}

const state = {column: 0, up: true, chosen: null};

function drawTable() {
  const words = $("find").value.trim(), which = $("which").value;
  const rows = page.chips.filter(row => matches(row, words, which)).sort((a, b) => compare(a, b, state.column, state.up));
  const body = document.createElement("tbody");
  for (const row of rows) {
    const line = body.insertRow();
    line.className = (row[row.length - 2] ? "" : "fail") + (row[0] === state.chosen ? " chosen" : "");
    page.columns.forEach(([, , kind], i) => { const cell = line.insertCell(); cell.className = kind; cell.textContent = format(row[i], kind, page.share); });
    line.onclick = () => { choose(row); };
  }
  $("chips").tBodies[0].replaceWith(body);
  $("count").textContent = `${rows.length} of ${page.chips.length} chips`;
}
function drawHead() {
  const line = $("chips").tHead.insertRow();
  page.columns.forEach(([, heading, kind], i) => {
    const cell = document.createElement("th"), button = document.createElement("button");
    button.textContent = heading; button.type = "button"; cell.scope = "col"; cell.className = kind; cell.append(button); line.append(cell);
    button.onclick = () => {
      state.up = state.column === i ? !state.up : true; state.column = i;
      [...line.cells].forEach((c, j) => j === i ? c.setAttribute("aria-sort", state.up ? "ascending" : "descending") : c.removeAttribute("aria-sort"));
      drawTable();
    };
  });
  line.cells[0].setAttribute("aria-sort", "ascending");
}

/* ---- fault maps ---- */
function paint(id, own, fused) {
  const {rows, cols} = page.maps, canvas = $(id), size = Math.max(4, Math.floor(256 / Math.max(rows, cols)));
  canvas.width = cols * size; canvas.height = rows * size;
  const brush = canvas.getContext("2d");
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) {
    const mine = own[r * cols + c] / 255, all = fused ? fused[r * cols + c] / 255 : mine;
    const mix = (a, b, t) => Math.round(a + (b - a) * t), paper = [238, 242, 245], ink = [34, 48, 60], amber = [230, 159, 0];
    let color = paper.map((p, k) => mix(p, amber[k], all));
    color = color.map((p, k) => mix(p, ink[k], mine));
    brush.fillStyle = `rgb(${color})`; brush.fillRect(c * size, r * size, size - (page.maps.exact && size > 5 ? 1 : 0), size - (page.maps.exact && size > 5 ? 1 : 0));
  }
}
function choose(row) {
  const value = Object.fromEntries(page.columns.map(([name], i) => [name, row[i]])), maps = page.maps.maps;
  state.chosen = value.chip_id;
  const show = (name, kind) => format(value[name], kind, page.share), own = maps[value.chip_id];
  const others = (value.group_size ?? 1) - 1, fused = others && maps[value.group];   // alone, both are the same
  $("own").parentElement.hidden = !own; $("fused-figure").hidden = !fused || !own;
  if (own) paint("own", cells(own, page.maps));
  if (own && fused) paint("fused", cells(own, page.maps), cells(fused, page.maps));
  $("own-words").textContent = `${value.chip_id}: dark is a faulty PE${page.maps.exact ? "" : " (share of a block)"}`;
  $("fused-words").textContent = `${value.group}: amber is pruned for other chips of the group`;
  const trained = value.trained_epochs ?? value.amount_epochs;
  $("why").textContent = value.group
    ? `${value.chip_id} (${show("fault_rate", "share")} of its PEs are faulty) carries the model of ${value.group}, ` + (others ? `shared with ${others} other chip${others > 1 ? "s" : ""}: ` : "alone: ") + `${trained ? `retrained for ${trained.toFixed(2)} epochs` : "not retrained"}${others ? `, for a fused fault map of ${show("fused_fault_rate", "share")} faulty PEs` : ""}. On test it has ${show("test_after", "metric")}, ${show("test_before", "metric")} before; it ${value.pass_test ? "passes" : "fails"}.` + (own ? "" : " (Its fault map is not in this page, which has room for some only; see fleet.npz.)")
    : `${value.chip_id} carries the fault-free network, masked: ${row[row.length - 1] ? "it is in no group" : "no amount of retraining within the budget repairs it"}.`;
  drawTable();
}

function chooseRate() {
  const rate = $("rate").value;
  for (const trace of page.figures.curves.data) {
    const band = trace.fill === "toself";
    trace.visible = rate === "" ? !band : trace.meta === Number(rate);
  }
  drawFigures();
}

async function begin() {
  page = JSON.parse(await unpack("data"));
  drawHead();
  choose(page.chips[0]);
  $("find").oninput = $("which").oninput = drawTable;
  await loadPlotly();
  if ($("rate")) $("rate").oninput = chooseRate;   // no curves, no choice
  drawFigures();
  document.documentElement.dataset.ready = "yes";
}
begin().catch(trouble);
