# ruff: noqa: E501 - this is HTML, whose lines break elsewhere than Python's
"""The page of the evaluation report (Jinja2). It lives in a module so that installing the package brings it along."""

PAGE = """{% macro grid(table) %}<table><thead><tr>{% for cell in table.header %}<th>{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in table.body %}<tr>{% for cell in row %}<td{% if cell.kind %} class="{{ cell.kind }}"{% endif %}>{{ cell.text }}</td>\
{% endfor %}</tr>{% endfor %}</tbody></table>{% endmacro %}<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { --ink: #1a1a1a; --faint: #5c5c5c; --line: #d9d9d9; --soft: #f5f6f7; --accent: #0072B2; --alarm: #a32020; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink); background: #fff; margin: 0 auto;
       max-width: 70rem; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p, li { max-width: 46rem; } .note { color: var(--faint); font-size: .9rem; } .alarm { color: var(--alarm); }
nav { font-size: .9rem; margin: .6rem 0 1.2rem; } nav a { margin-right: 1rem; color: var(--accent); }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .92rem; }
dl.facts dt { color: var(--faint); } dl.facts dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { background: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; min-width: 3.2rem; } th:first-child, td:first-child { text-align: left; }
td.text { text-align: left; white-space: normal; min-width: 9rem; } td.text:last-child { min-width: 18rem; } td.best { font-weight: 700; }
figure { margin: 1rem 0; overflow-x: auto; } figure svg { width: 100%; min-width: 34rem; max-width: 47rem; height: auto; display: block; }
.worst { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1.2rem; }
.worst figure { margin: 0; } .worst img { width: 100%; display: block; border-radius: 4px; }
figcaption { font-size: .88rem; margin-top: .35rem; }
.swatch { display: inline-block; width: 1.6rem; border-top: 3px solid; vertical-align: middle; margin: 0 .3rem 0 .8rem; }
@media (max-width: 34rem) { .worst { grid-template-columns: 1fr; } }
@media print { nav { display: none; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="note">{{ subtitle }}</p>
<nav>{% for id, text in sections %}<a href="#{{ id }}">{{ text }}</a>{% endfor %}</nav>

<h2 id="overview">Overview</h2>
<div class="scroll">{{ grid(overview) }}</div>
<p class="note">Mean ± SD over pairs, each pair's value being the mean over its labels; bold: best mean of its column.
Failed pairs count as the worst value. NSD tolerance {{ tolerance }} mm.</p>
{% for line in notices %}<p class="note alarm">{{ line }}</p>{% endfor %}
{% for svg in main_figures %}<figure>{{ svg | safe }}</figure>{% endfor %}

<h2 id="details">Details</h2>
<p class="note">95 % interval: percentile bootstrap of the mean over pairs. p: two-sided paired Wilcoxon signed-rank test against
<b>{{ reference }}</b>, not corrected for the number of tests.</p>
{% for heading, table in details %}<h3>{{ heading }}</h3><div class="scroll">{{ grid(table) }}</div>{% endfor %}

<h2 id="labels">Labels</h2>
{% if label_figure %}<figure>{{ label_figure | safe }}</figure>{% if label_note %}<p class="note">{{ label_note }}</p>{% endif %}{% endif %}
<div class="scroll">{{ grid(per_label) }}</div>
{% if more_labels %}<p class="note">{{ more_labels }} more labels are in summary.json.</p>{% endif %}

<h2 id="time">Quality and time</h2>
{% if time_figure %}<figure>{{ time_figure | safe }}</figure>{% else %}<p>No pair was finished.</p>{% endif %}

<h2 id="worst">Worst cases</h2>
<p class="note">The pairs of <b>{{ reference }}</b> with the lowest mean Dice among those that did not fail; the planes cut the worst label.
<span class="swatch" style="border-color:#c9bd1a"></span>truth (yellow, solid)
<span class="swatch" style="border-color:#56B4E9;border-top-style:dashed"></span>result (blue, dashed).
The patient's right is on the left.</p>
<div class="worst">
{% for case in worst %}<figure>{% if case.png %}<img alt="{{ case.alt }}" src="data:image/png;base64,{{ case.png }}">{% endif %}
<figcaption><b>{{ case.query }}</b> from {{ case.atlas }}: mean Dice {{ case.mean }}; worst label {{ case.label }}, Dice
{{ case.dice }}{% if case.note %} <span class="alarm">{{ case.note }}</span>{% endif %}</figcaption></figure>
{% endfor %}</div>

<h2 id="failures">Failures</h2>
{% if failures.body %}<div class="scroll">{{ grid(failures) }}</div>{% else %}<p>None.</p>{% endif %}

<h2 id="facts">Data, machine, versions</h2>
<dl class="facts">{% for key, value in facts %}<dt>{{ key }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
</body>
</html>
"""
