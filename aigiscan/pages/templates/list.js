"use strict";
(() => {
const given = JSON.parse(document.getElementById("rows").textContent);
const names = given.columns, at = Object.fromEntries(names.map((name, i) => [name, i]));
const rows = given.rows, $ = id => document.getElementById(id), list = $("list");
const known = $("known") ? JSON.parse($("known").textContent) : [];  // pictures that several explanations show
const common = given.folder, storage = "aigiscan-marks-" + given.digest;
const short = row => row[at.path].startsWith(common) ? row[at.path].slice(common.length) : row[at.path];
const folderOf = row => { const name = short(row), cut = name.replaceAll("\\", "/").lastIndexOf("/"); return cut < 0 ? "." : name.slice(0, cut); };
let marks = new Set(), view = "table", shown = [], current = 0, order = { key: given.order, down: true }, printing = false;
try { marks = new Set(JSON.parse(localStorage.getItem(storage) || "[]")); } catch { /* storage may be forbidden */ }

const folders = [...new Set(rows.map(folderOf))].sort();
for (const folder of folders) $("folder").append(Object.assign(document.createElement("option"), { value: folder, textContent: folder }));

function element(tag, words, kind) {
  const made = document.createElement(tag);
  if (words !== undefined) made.textContent = words;
  if (kind) made.className = kind;
  return made;
}
const number = (value, digits) => value == null ? "" : value.toFixed(digits);
function picture(row, kind) {
  const address = row[at.thumbnail];
  if (!address) return element("span", "no picture", kind + " nothumb");
  const made = element("img", undefined, kind);
  made.alt = ""; made.loading = "lazy"; made.decoding = "async"; made.src = address;
  return made;
}
function reason(row) { return row[at.error] || row[at.note] || ""; }

function choose() {
  const verdicts = new Set([...document.querySelectorAll("#verdicts input:checked")].map(box => box.value));
  const low = $("low").value === "" ? -1 : Number($("low").value), high = $("high").value === "" ? 2 : Number($("high").value);
  const folder = $("folder").value, words = $("text").value.toLowerCase(), claims = $("claims").checked, marked = $("marked").checked;
  shown = [];
  rows.forEach((row, i) => {
    const p = row[at.p_ai];
    if (!verdicts.has(row[at.verdict]) || (p !== null ? p < low || p > high : low >= 0 || high < 2)) return;
    if (folder && folderOf(row) !== folder) return;
    if (claims && !row[at.says_ai] || marked && !marks.has(row[at.path])) return;
    if (words && ![at.path, at.error, at.note, at.provenance, at.generator, at.sha256].some(k => String(row[k] ?? "").toLowerCase().includes(words))) return;
    shown.push(i);
  });
  const k = at[order.key], sign = order.down ? -1 : 1;
  shown.sort((i, j) => {
    const a = rows[i][k], b = rows[j][k];
    if (a === b) return i - j;
    if (a === null || a === "") return 1;
    if (b === null || b === "") return -1;
    return (a < b ? -1 : 1) * sign;
  });
  current = Math.min(current, Math.max(0, shown.length - 1));
  $("shown").textContent = `${shown.length} of ${rows.length} pictures`;
  build();
}

const COLUMNS = [["", null, 88], ["picture", "path", 0], ["verdict", "verdict", 105], ["p_ai", "p_ai", 70], ["score", "score", 80, "wide"],
  ["p_value", "p_value", 80, "wide"], ["note", "note", 0, "wide"]].filter(([, key]) => !key || key in at);
const HEIGHT = 64, CARD = [180, 210];
let body;
function build() {
  list.replaceChildren();
  if (view === "grid") { body = element("div", undefined, "cards"); list.append(body); draw(); return; }
  const table = element("table"), head = element("tr");
  table.setAttribute("aria-rowcount", shown.length);
  for (const [words, key, width, kind] of COLUMNS) {
    const cell = element("th", undefined, (["picture", "note", "verdict"].includes(words) ? "text " : "") + (kind || ""));
    if (width) cell.style.width = width + "px";
    if (key) {
      const button = element("button", words + (order.key === key ? (order.down ? " ▾" : " ▴") : ""));
      button.type = "button";
      button.addEventListener("click", () => { order = { key, down: order.key === key ? !order.down : key !== "path" }; choose(); });
      cell.setAttribute("aria-sort", order.key === key ? (order.down ? "descending" : "ascending") : "none");
      cell.append(button);
    } else cell.append(element("span", "", ""));
    head.append(cell);
  }
  const top = element("thead"); top.append(head); body = element("tbody"); table.append(top, body); list.append(table); draw();
}
function gap(height) { const row = element("tr", undefined, "gap"), cell = element("td"); cell.colSpan = COLUMNS.length; cell.style.height = height + "px"; row.append(cell); row.setAttribute("aria-hidden", "true"); return row; }
function perLine() { return Math.max(1, Math.floor((list.clientWidth - 4) / CARD[0])); }
function draw() {
  const tall = view === "grid" ? CARD[1] : HEIGHT, each = view === "grid" ? perLine() : 1, lines = Math.ceil(shown.length / each);
  const first = printing ? 0 : Math.max(0, Math.floor(list.scrollTop / tall) - 6);
  const last = printing ? lines : Math.min(lines, Math.ceil((list.scrollTop + list.clientHeight) / tall) + 6);
  const made = [];
  for (let place = first * each; place < Math.min(shown.length, last * each); place++) made.push(view === "grid" ? card(place, each) : line(place));
  if (view === "grid") { body.style.height = lines * tall + "px"; body.replaceChildren(...made); }
  else body.replaceChildren(gap(first * tall), ...made, gap((lines - last) * tall));
}
function line(place) {
  const row = rows[shown[place]], made = element("tr", undefined, place === current ? "current" : "");
  made.setAttribute("aria-rowindex", place + 1);
  made.dataset.place = place;
  const first = element("td"); first.append(picture(row, "thumb"));
  const name = element("td", undefined, "text"); name.append(element("span", (marks.has(row[at.path]) ? "★ " : "") + short(row), "cut"));
  const note = element("td", undefined, "text wide"); note.append(element("span", reason(row), "cut"));
  made.append(first, name, element("td", row[at.verdict], "text verdict " + row[at.verdict]), element("td", number(row[at.p_ai], 3)),
    element("td", number(row[at.score], 3), "wide"));
  if ("p_value" in at) made.append(element("td", number(row[at.p_value], 4), "wide"));
  made.append(note);
  return made;
}
function card(place, each) {
  const row = rows[shown[place]], made = element("div", undefined, "card" + (place === current ? " current" : ""));
  made.style.left = (place % each) * CARD[0] + "px"; made.style.top = Math.floor(place / each) * CARD[1] + "px";
  made.dataset.place = place;
  const words = element("div", undefined, ""), verdict = element("span", row[at.verdict], "verdict " + row[at.verdict]);
  words.append(verdict, " " + number(row[at.p_ai], 3) + (marks.has(row[at.path]) ? " ★" : ""));
  made.append(picture(row, "thumb"), words, element("div", short(row), "name"));
  return made;
}
function go(place) {
  if (!shown.length) return;
  current = Math.max(0, Math.min(shown.length - 1, place));
  const each = view === "grid" ? perLine() : 1, tall = view === "grid" ? CARD[1] : HEIGHT, top = Math.floor(current / each) * tall;
  const head = view === "grid" ? 0 : 40;
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + tall + head > list.scrollTop + list.clientHeight) list.scrollTop = top + tall + head - list.clientHeight;
  draw();
  if ($("large").open) fill();
}
function fill() {
  const row = rows[shown[current]];
  $("large-name").textContent = short(row);
  $("large-picture").replaceChildren(picture(row, ""));
  if (row[at.map]) {
    const map = element("img"); map.alt = "Contribution of each patch to the score"; map.src = row[at.map]; $("large-picture").append(map);
  }
  $("mark").checked = marks.has(row[at.path]);
  const about = $("about-" + shown[current]);
  $("large-about").replaceChildren(...(about ? [about.content.cloneNode(true)] : []));
  for (const image of $("large-about").querySelectorAll("[data-own]")) image.src = row[at.thumbnail];
  for (const image of $("large-about").querySelectorAll("[data-known]")) image.src = known[image.dataset.known];
  $("large-picture").hidden = $("large-facts").hidden = Boolean(about);
  if (about) return;
  const facts = [["verdict", row[at.verdict]], ["reason", reason(row)], ["p_ai", number(row[at.p_ai], 4)], ["score", number(row[at.score], 4)],
    ["p_value", number(row[at.p_value], 5)], ["generator", row[at.generator]], ["provenance", row[at.provenance]],
    ["size", row[at.width] ? `${row[at.width]} × ${row[at.height]} px, ${row[at.format]}, ${row[at.bytes]} bytes` : ""],
    ["sha256", row[at.sha256]], ["path", row[at.path]]];
  $("large-facts").replaceChildren(...facts.filter(([, value]) => value).flatMap(([name, value]) => [element("dt", name), element("dd", value, name === "verdict" ? "verdict " + value : "")]));
}
function open(place) { go(place); fill(); if (!$("large").open) $("large").showModal(); }
function toggle() {
  if (!shown.length) return;
  const path = rows[shown[current]][at.path];
  if (!marks.delete(path)) marks.add(path);
  try { localStorage.setItem(storage, JSON.stringify([...marks])); } catch { /* then they last as long as the page */ }
  draw();
  if ($("large").open) fill();
}
function keys(event) {
  if (["INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "checkbox") return;
  const each = view === "grid" && !$("large").open ? perLine() : 1, page = each * Math.max(1, Math.floor(list.clientHeight / (view === "grid" ? CARD[1] : HEIGHT)));
  const steps = { ArrowDown: each, ArrowUp: -each, ArrowRight: 1, ArrowLeft: -1, PageDown: page, PageUp: -page, Home: -shown.length, End: shown.length };
  if (event.key in steps) go(current + steps[event.key]);
  else if (event.key === "Enter" && event.target === list) open(current);
  else if (event.key === "m") toggle();
  else return;
  event.preventDefault();
}
list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
list.addEventListener("click", event => { const hit = event.target.closest("[data-place]"); if (hit) open(Number(hit.dataset.place)); });
list.addEventListener("keydown", keys);
$("large").addEventListener("keydown", keys);
$("controls").addEventListener("input", choose);
$("controls").addEventListener("submit", event => event.preventDefault());
$("previous").addEventListener("click", () => go(current - 1));
$("next").addEventListener("click", () => go(current + 1));
$("mark").addEventListener("change", toggle);
$("as-table").addEventListener("click", () => look("table"));
$("as-grid").addEventListener("click", () => look("grid"));
function look(name) { view = name; $("as-table").setAttribute("aria-pressed", name === "table"); $("as-grid").setAttribute("aria-pressed", name === "grid"); list.scrollTop = 0; build(); }
$("theme").addEventListener("click", () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
$("export").addEventListener("click", () => {
  const cell = text => /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  const chosen = rows.filter(row => marks.has(row[at.path])), header = ["path", "verdict", "p_ai", "score", "sha256"];
  const text = [header, ...chosen.map(row => header.map(name => cell(String(row[at[name]] ?? ""))))].map(line => line.join(",") + "\n").join("");
  const link = element("a"); link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" })); link.download = "marks.csv"; link.click();
  URL.revokeObjectURL(link.href);
});
addEventListener("beforeprint", () => { printing = shown.length <= 2000; build(); });
addEventListener("afterprint", () => { printing = false; build(); });
addEventListener("resize", () => draw());
choose();
})();
