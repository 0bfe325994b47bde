"use strict";
// Matrices of theory and networks side by side, on one scale of colours, drawn by Bokeh.

const MOST_WRITTEN = 8; // rows up to which every cell has its number written in it
const MOST_SIGNED = 40; // rows up to which negative cells have their sign, for those who see no colours

// fit: from the smallest to the largest value, which shows small differences; otherwise from zero, or both signs alike.
function colorsOf(panels, fit) {
  const values = panels.flatMap((panel) => panel.cells.map((cell) => cell.value)).filter(Number.isFinite);
  if (fit && values.length) return { low: Math.min(...values), high: Math.max(...values), palette: PAGE.shades };
  const largest = values.length ? Math.max(...values.map(Math.abs)) : 0;
  const signed = values.some((value) => value < -1e-9 * largest);
  return { low: signed ? -largest : 0, high: largest || 1, palette: signed ? DIVERGING : PAGE.shades };
}

// Blue through white to red, told apart without colour by the signs in the cells.
const DIVERGING = Array.from({ length: 65 }, (_, i) => {
  const share = (i - 32) / 32, end = share < 0 ? [33, 102, 172] : [178, 24, 43];
  const mixed = end.map((part) => Math.round(247 + (part - 247) * Math.abs(share)));
  return `#${mixed.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
});

function matrixColumns(panel, pair) {
  const count = Math.max(panel.rows.length, panel.columns.length);
  const sign = (value) => (value < 0 && count <= MOST_SIGNED ? "−" : "");
  const of = (make) => panel.cells.map(make);
  return {
    x: of((cell) => cell.j), y: of((cell) => cell.i), v: of((cell) => cell.value),
    row: of((cell) => labelWords(pair[0], cell.row)), column: of((cell) => labelWords(pair[1], cell.column)),
    value: of((cell) => digits(cell.value)), written: of((cell) => (count <= MOST_WRITTEN ? digits(cell.value, 3) : sign(cell.value))),
    error: of((cell) => (Number.isFinite(cell.error) && cell.error !== null ? `(s.e. ${digits(cell.error, 2)})` : "")),
  };
}

function newMatrixFigure(panel, pair, colors, width) {
  const side = Math.max(200, Math.min(460, width));
  const figure = newFigure({
    width: side, height: side, sizing_mode: "fixed", title: panel.name,
    x_axis_label: PAGE.dimensions[pair[1]], y_axis_label: PAGE.dimensions[pair[0]],
    x_range: [-0.5, panel.columns.length - 0.5], y_range: [panel.rows.length - 0.5, -0.5],
  });
  figure.title.text_font_size = "13px";
  figure.title.text_font_style = "normal";
  figure.grid.visible = false;
  const ends = [[figure.xaxis, panel.columns, pair[1]], [figure.yaxis, panel.rows, pair[0]]];
  for (const [axis, labels, dim] of ends) {
    const few = Math.max(1, Math.ceil(labels.length / 8));
    const ticks = labels.map((_, i) => i).filter((i) => i % few === 0);
    axis.ticker = new Bokeh.FixedTicker({ ticks });
    const words = (label) => (isPoint(dim) ? String(label) : labelWords(dim, label));
    axis.major_label_overrides = new Map(ticks.map((i) => [i, words(labels[i])]));
    axis.axis_line_color = null;
  }
  const mapper = new Bokeh.LinearColorMapper({ ...colors, nan_color: "#ddd" });
  const source = new Bokeh.ColumnDataSource({ data: matrixColumns(panel, pair) });
  const [x, y, color] = [{ field: "x" }, { field: "y" }, { field: "v", transform: mapper }];
  const cells = figure.rect({ x, y, width: 1, height: 1, source, fill_color: color, line_color: color });
  const roomy = panel.rows.length <= MOST_WRITTEN && panel.columns.length <= MOST_WRITTEN && side >= 260;
  figure.text({ x, y, source, text: { field: "written" }, text_align: "center", text_baseline: "middle",
    text_color: INK, text_font_size: roomy ? "11px" : "9px", padding: 2,
    background_fill_color: roomy ? "white" : null, background_fill_alpha: 0.75 });
  figure.add_tools(new Bokeh.HoverTool({ renderers: [cells], tooltips: [
    [PAGE.dimensions[pair[0]], "@row"], [PAGE.dimensions[pair[1]], "@column"], ["value", "@value @error"]] }));
  return { figure, source, mapper };
}

// The same for a picture, as `picture` has its keys.
function keyOfScale(colors, axis) {
  const draw = (pen) => colors.palette.forEach((color, i, all) => {
    pen.fillStyle = color;
    pen.fillRect((160 * i) / all.length, -6, 160 / all.length + 0.5, 12);
  });
  return { draw, width: 160, words: `${digits(colors.low, 3)} to ${digits(colors.high, 3)}: ${axis}` };
}

// The scale of all panels, with its ends as numbers.
function scaleOf(colors, axis) {
  const stops = Array.from({ length: 17 }, (_, i) => colors.palette[Math.round((i / 16) * (colors.palette.length - 1))]);
  return element("div", { class: "scale" }, element("span", {}, digits(colors.low, 3)),
    element("span", { class: "strip", style: `background: linear-gradient(to right, ${stops.join(",")})` }),
    element("span", {}, digits(colors.high, 3)), element("span", { class: "unit" }, axis));
}
