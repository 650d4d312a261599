"""The report's style sheet."""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1288px; padding: 24px; color: #1c2430; background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 19px; margin: 36px 0 10px; padding-bottom: 4px; border-bottom: 2px solid #1c2430; }
h3 { font-size: 16px; margin: 0 0 2px; }
p { margin: 0 0 8px; max-width: 110ch; }
a { color: #0b5cad; }
code { font: 13px/1.4 ui-monospace, Menlo, Consolas, monospace; background: #f0f2f5; padding: 1px 4px;
  border-radius: 3px; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px; text-align: left; border-bottom: 1px solid #dde1e7; vertical-align: top; }
thead th { border-bottom: 1px solid #1c2430; vertical-align: bottom; white-space: nowrap; }
th[colspan] { text-align: center; }
.number { text-align: right; white-space: nowrap; }
.first { border-left: 1px solid #dde1e7; }
.mean th, .mean td { font-weight: 600; border-bottom: 1px solid #1c2430; background: #f5f7f9; }
tbody th { font-weight: 400; white-space: nowrap; }
.facts th { color: #55606e; padding-left: 0; }
.facts td { overflow-wrap: anywhere; }
.bar { background: linear-gradient(90deg, #cfe0f1 var(--part), transparent var(--part)); }
.score { width: 120px; }
.group th[colspan] { text-align: left; font-weight: 600; padding-top: 10px; border-bottom-color: #1c2430; }
.low { color: #a13c00; font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 8px 0 14px; }
.legend span { display: inline-flex; align-items: center; gap: 7px; }
.swatch { width: 26px; height: 15px; border: 0 solid; print-color-adjust: exact; }
.outline { border-width: 3px; background: none !important; }
.row { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 12px 24px; margin-bottom: 12px; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
svg text { fill: #1c2430; }
.grid { stroke: #dde1e7; stroke-width: 1; }
.slices { margin: 6px 0 10px; }
.slices label { color: #55606e; }
.strip { display: flex; gap: 4px; overflow-x: auto; background: #000; padding: 4px 4px 8px;
  scroll-snap-type: x proximity; }
.strip > div { flex: none; scroll-snap-align: start; }
.toggle:checked ~ .strip .plain, .toggle:not(:checked) ~ .strip .overlay { display: none; }
img { display: block; max-width: 100%; height: auto; }
.case { margin: 0 0 30px; break-inside: avoid; }
.case p { color: #55606e; margin-bottom: 4px; }
.case img { background: #000; margin-bottom: 4px; }
.wide { overflow-x: auto; }
footer { margin-top: 40px; padding-top: 8px; border-top: 1px solid #dde1e7; color: #55606e; font-size: 13px; }
* { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@page { margin: 12mm; }
@media print { body { padding: 0; font-size: 11px; } th, td { padding: 2px 4px; } .score { width: auto; }
  .strip { flex-wrap: wrap; padding: 0; gap: 2px; } .strip > div { width: calc(16.6% - 2px); }
  .toggle, .slices label, .strip .plain { display: none !important; } .strip .overlay { display: block !important; }
  .wide { overflow: visible; } thead th { white-space: normal; } }
"""
