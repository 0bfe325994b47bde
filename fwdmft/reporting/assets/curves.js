"use strict";
// Curves of theory (dashed) and networks (markers and bars), drawn by Bokeh.

const MARKERS = ["circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "star", "plus"];
const INK = "#111", BAND = "#595959";
const DASHES = { theory: [7, 4], averaged: [2, 3], networks: [] };

const MOST_TICKS = 6; // numbers up to which each has its tick

// Positions on the horizontal axis: numbers as they are, text and points by their place.
function positions(dim, labels) {
  const numeric = !isPoint(dim) && labels.every((one) => typeof one === "number");
  return numeric ? labels : labels.map((_, i) => i);
}

function axisTicks(figure, dim, labels) {
  const at = positions(dim, labels);
  if (at === labels && labels.length > MOST_TICKS) return;
  if (at === labels) {
    figure.xaxis.ticker = new Bokeh.FixedTicker({ ticks: labels });
    return;
  }
  const few = Math.max(1, Math.ceil(labels.length / 10));
  const ticks = at.filter((i) => i % few === 0);
  figure.xaxis.ticker = new Bokeh.FixedTicker({ ticks });
  const words = (label) => isPoint(dim) ? String(label) : labelWords(dim, label);
  figure.xaxis.major_label_overrides = new Map(ticks.map((i) => [i, words(labels[i])]));
}

function newFigure(options) {
  const coarse = matchMedia("(pointer: coarse)").matches;
  const figure = Bokeh.Plotting.figure({
    tools: coarse ? [] : [new Bokeh.BoxZoomTool()], toolbar_location: null, sizing_mode: "stretch_width",
    output_backend: "canvas", border_fill_color: null, outline_line_color: null, ...options,
  });
  for (const axis of [...figure.xaxis, ...figure.yaxis]) {
    axis.axis_label_text_font_style = "normal";
    axis.axis_label_text_font_size = "13px";
    axis.major_label_text_font_size = "12px";
    axis.axis_line_color = "#666";
    axis.minor_tick_line_color = null;
  }
  figure.toolbar.logo = null;
  return figure;
}

function curveColumns(curve, dims, state) {
  const place = new Map(positions(state.across, dims[state.across]).map((x, i) => [dims[state.across][i], x]));
  const spread = curve.error ? curve.error.map((one) => PAGE.errors * one) : curve.y.map(() => NaN);
  const hidden = (value) => (state.logY && !(value > 0) ? NaN : value);
  const low = curve.y.map((y, i) => y - spread[i]), high = curve.y.map((y, i) => y + spread[i]);
  const floor = Math.min(...curve.y.filter((y) => y > 0));
  return {
    x: curve.x.map((one) => place.get(one)),
    y: curve.y.map(hidden),
    low: low.map((one, i) => (state.logY && !(one > 0) && high[i] > 0 ? floor / 3 : hidden(one))),
    high: high.map(hidden),
    label: curve.x.map((one) => labelWords(state.across, one)),
    value: curve.y.map((one) => digits(one)),
    error: (curve.error || curve.y.map(() => NaN)).map((one) => (Number.isNaN(one) ? "" : `(s.e. ${digits(one, 2)})`)),
    name: curve.y.map(() => curve.name),
  };
}

function drawCurve(figure, curve, source) {
  const field = (name) => ({ field: name });
  const plainTheory = curve.look === "theory" && curve.place === null;
  const color = curve.place === null ? INK : shade(curve.place, curve.count);
  const x = field("x"), y = field("y");
  let hovered;
  if (curve.look === "theory") {
    if (curve.error) {
      figure.varea({ x, y1: field("low"), y2: field("high"), source, fill_color: plainTheory ? BAND : color,
        fill_alpha: 0.2 });
    }
    hovered = figure.line({ x, y, source, line_color: color, line_dash: DASHES.theory, line_width: 2 });
  } else if (curve.look === "averaged") {
    hovered = figure.line({ x, y, source, line_color: color, line_dash: DASHES.averaged, line_width: 2 });
  } else {
    const marker = MARKERS[(curve.place || 0) % MARKERS.length];
    if (curve.error) {
      figure.segment({ x0: x, x1: x, y0: field("low"), y1: field("high"), source, line_color: color,
        line_width: 1.5 });
    }
    figure.line({ x, y, source, line_color: color, line_width: 1, line_alpha: 0.6 });
    hovered = figure.scatter({ x, y, source, marker, size: 9, fill_color: color, fill_alpha: 0.45,
      line_color: color, line_width: 1.5 });
  }
  return hovered;
}

function newCurvesFigure(family, state, curves, dims, width) {
  const measure = family.measures[state.measure];
  const figure = newFigure({
    height: width < 500 ? 300 : 360, x_axis_label: PAGE.dimensions[state.across], y_axis_label: measure.axis,
    x_axis_type: state.logX ? "log" : "linear", y_axis_type: state.logY ? "log" : "linear",
  });
  axisTicks(figure, state.across, dims[state.across]);
  const order = { networks: 0, averaged: 1, theory: 2 };
  const sources = curves.map(() => null), hovered = [];
  [...curves.keys()].sort((a, b) => order[curves[a].look] - order[curves[b].look]).forEach((i) => {
    sources[i] = new Bokeh.ColumnDataSource({ data: curveColumns(curves[i], dims, state) });
    hovered.push(drawCurve(figure, curves[i], sources[i]));
  });
  figure.add_tools(new Bokeh.HoverTool({
    renderers: hovered, mode: "mouse",
    tooltips: [["", "@name"], [shortDimension(state.across), "@label"], ["value", "@value @error"]],
  }));
  return { figure, sources };
}

// The legend, outside the figure so that it covers nothing: the same dashes, markers and colours.
function legendOf(curves) {
  return element("ul", { class: "legend" }, ...curves.map((curve) => {
    const color = curve.place === null ? INK : shade(curve.place, curve.count);
    return element("li", {}, sample(curve, color), curve.name);
  }));
}

const SHAPES = {
  circle: "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0", square: "M-4 -4h8v8h-8z", triangle: "M0 -5L5 4H-5z",
  diamond: "M0 -6L4 0L0 6L-4 0z", inverted_triangle: "M0 5L5 -4H-5z", hex: "M-2.5 -4.5h5L5 0L2.5 4.5h-5L-5 0z",
  star: "M0 -6L1.8 -1.9L6 -1.9L2.6 .9L3.8 5L0 2.6L-3.8 5L-2.6 .9L-6 -1.9L-1.8 -1.9z", plus: "M-5 0H5M0 -5V5",
};

// The sample of a curve for a picture, as `picture` has its keys.
function keyOf(curve) {
  const color = curve.place === null ? INK : shade(curve.place, curve.count);
  const draw = (pen) => {
    pen.translate(17, 0);
    Object.assign(pen, { strokeStyle: color, fillStyle: color, lineWidth: 2 });
    pen.setLineDash(DASHES[curve.look]);
    pen.stroke(new Path2D("M-17 0H17"));
    if (curve.look !== "networks") return;
    const shape = new Path2D(SHAPES[MARKERS[(curve.place || 0) % MARKERS.length]]);
    pen.lineWidth = 1.5;
    pen.stroke(shape);
    pen.globalAlpha = 0.45;
    pen.fill(shape);
  };
  return { draw, width: 34, words: curve.name };
}

function sample(curve, color) {
  const svg = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    return made;
  };
  const box = svg("svg", { width: 34, height: 14, viewBox: "-17 -7 34 14", "aria-hidden": "true" });
  const dash = DASHES[curve.look].join(" ") || "none";
  box.append(svg("path", { d: "M-17 0H17", stroke: color, "stroke-width": 2, "stroke-dasharray": dash }));
  if (curve.look === "networks") {
    const marker = MARKERS[(curve.place || 0) % MARKERS.length];
    box.append(svg("path", { d: SHAPES[marker], fill: color, "fill-opacity": 0.45, stroke: color, "stroke-width": 1.5 }));
  }
  return box;
}
