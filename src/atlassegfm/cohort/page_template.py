# ruff: noqa: E501 - this is HTML, whose lines break elsewhere than Python's
"""The page of a cohort (Jinja2). It lives in a module so that installing the package brings it along."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cohort: {{ total }} scans</title>
<style>
:root { --ink: #1a1a1a; --faint: #5c5c5c; --line: #d9d9d9; --soft: #f5f6f7; --accent: #0072B2; }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink); background: #fff; margin: 0 auto; max-width: 90rem; padding: 1.25rem 1.25rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; }
.note { color: var(--faint); font-size: .9rem; max-width: 50rem; margin: .3rem 0; }
.bar { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: 1rem 0; }
.bar button { font: inherit; padding: .25rem .8rem; border: 1px solid var(--line); border-radius: 1rem; background: #fff; cursor: pointer; }
.bar button[aria-pressed=true] { background: var(--accent); border-color: var(--accent); color: #fff; }
.bar input { font: inherit; padding: .25rem .6rem; border: 1px solid var(--line); border-radius: .3rem; min-width: 14rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { background: var(--soft); font-weight: 600; vertical-align: bottom; }
th button { font: inherit; font-weight: 600; border: 0; background: none; padding: 0; cursor: pointer; color: inherit; }
th[aria-sort=ascending] button::after { content: " \\25B2"; } th[aria-sort=descending] button::after { content: " \\25BC"; }
.left { text-align: left; } td.name { overflow-wrap: anywhere; min-width: 8rem; } td.why { min-width: 14rem; max-width: 32rem; overflow-wrap: anywhere; }
td img { width: 270px; display: block; border-radius: 3px; }
.word { display: inline-block; padding: 0 .5rem; border-radius: .7rem; white-space: nowrap; }
.good { background: #dff0e3; } .check { background: #fdf0cc; } .do-not-use { background: #f9d9d3; } .failed { background: #4a4a4a; color: #fff; }
td.cell-check { box-shadow: inset 3px 0 #d99a00; } td.cell-do-not-use { box-shadow: inset 3px 0 #b3362a; }
</style>
</head>
<body>
<h1>{{ total }} scans</h1>
<p class="note" id="counts">{{ counts["good"] }} good, {{ counts["check"] }} to check, {{ counts["do not use"] }} not to use, {{ counts["failed"] }} failed{% if missing %}, {{ missing }} not done yet{% endif %}.
The words come from a rule without ground truth; labels whose volume, shape or place is far from the cohort's own are to be checked too. Look at every result before you use it.</p>
{% if state == "running" %}<p class="note" id="state">The run was still going on at {{ written }}; reload this page to see more.</p>{% elif state == "interrupted" %}<p class="note" id="state">The run was interrupted; the same command goes on.</p>{% endif %}
{% if more_labels %}<p class="note">{{ more_labels }} more labels are in summary.csv.</p>{% endif %}
<div class="bar" role="group" aria-label="Filter">
<button type="button" data-filter="all" aria-pressed="true">all</button>
<button type="button" data-filter="first" aria-pressed="false">check first</button>
<button type="button" data-filter="good" aria-pressed="false">good</button>
<button type="button" data-filter="failed" aria-pressed="false">failed</button>
<input type="search" id="search" placeholder="name or reason" aria-label="Search">
<span class="note" id="shown"></span>
</div>
<div class="scroll"><table id="cases">
<thead><tr><th class="left">Picture</th><th class="left"><button type="button">Name</button></th><th class="left"><button type="button">Quality</button></th>
{% for name in labels.values() %}<th><button type="button">{{ name }}, ml</button></th>{% endfor %}<th><button type="button">Time, s</button></th><th class="left"><button type="button">Why</button></th></tr></thead>
<tbody>
{% for row in rows %}<tr data-word="{{ row.word }}">
<td class="left">{% if row.thumbnail %}<a href="{{ row.picture | urlencode }}"><img loading="lazy" alt="{{ row.name }}: contours" src="data:image/jpeg;base64,{{ row.thumbnail }}"></a>{% endif %}</td>
<td class="left name" data-key="{{ row.name }}">{{ row.name }}{% if row.source != row.name %}<br><span class="note">{{ row.source }}</span>{% endif %}</td>
<td class="left" data-key="{{ row.urgency }}"><span class="word {{ row.word | replace(' ', '-') }}">{{ row.word }}</span></td>
{% for cell in row.cells %}{% if cell %}<td class="cell-{{ cell.word | replace(' ', '-') }}" data-key="{{ cell.volume }}" title="{{ cell.word }}{% if cell.why %}: {{ cell.why }}{% endif %}">{{ cell.volume }}</td>{% else %}<td data-key=""></td>{% endif %}{% endfor %}
<td data-key="{{ row.seconds }}">{{ row.seconds }}</td>
<td class="left why" data-key="{{ row.why }}">{{ row.why }}</td>
</tr>
{% endfor %}</tbody>
</table></div>
<script>
"use strict";
const body = document.querySelector("#cases tbody"), heads = [...document.querySelectorAll("#cases th")];
const search = document.querySelector("#search"), buttons = [...document.querySelectorAll("[data-filter]")];
let filter = "all";
const passes = { all: () => true, first: w => w === "check" || w === "do not use", good: w => w === "good", failed: w => w === "failed" };
function show() {
  const wanted = search.value.trim().toLowerCase();
  let count = 0;
  for (const row of body.rows) {
    const on = passes[filter](row.dataset.word) && row.textContent.toLowerCase().includes(wanted);
    row.hidden = !on; count += on;
  }
  document.querySelector("#shown").textContent = count + " of " + body.rows.length + " shown";
}
function sort(column) {
  const up = heads[column].getAttribute("aria-sort") !== "ascending";
  heads.forEach(h => h.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[column].dataset.key;
  const rows = [...body.rows], numeric = rows.every(r => key(r) === "" || !isNaN(key(r)));
  const compare = (a, b) => {
    if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
    return (up ? 1 : -1) * (numeric ? key(a) - key(b) : key(a).localeCompare(key(b), undefined, { numeric: true }));
  };
  rows.sort(compare).forEach(row => body.append(row));
}
heads.forEach((head, n) => head.querySelector("button")?.addEventListener("click", () => sort(n)));
buttons.forEach(button => button.addEventListener("click", () => {
  filter = button.dataset.filter;
  buttons.forEach(b => b.setAttribute("aria-pressed", String(b === button)));
  show();
}));
search.addEventListener("input", show);
show();
</script>
</body>
</html>
"""
