"use strict";
// The numbers of the page, and entries of arrays chosen by the labels of their dimensions.

const PAGE = JSON.parse(document.getElementById("page-data").textContent);

function decoded(array) {
  if (!array.numbers) {
    const bytes = Uint8Array.from(atob(array.values), (sign) => sign.charCodeAt(0));
    array.numbers = new Float32Array(bytes.buffer);
    array.values = null;
    array.strides = array.shape.map((_, i) => array.shape.slice(i + 1).reduce((a, b) => a * b, 1));
  }
  return array;
}

function labelsOf(array, dim) {
  const at = array.dims.indexOf(dim);
  return at < 0 ? null : PAGE.labels[array.labels[at]];
}

// A function of labels, {dim: label}, that gives the number there, or NaN where the array has none of these labels.
function reader(id, where) {
  const array = decoded(PAGE.arrays[id]);
  let start = 0;
  const free = [];
  array.dims.forEach((dim, i) => {
    if (!(dim in where)) return free.push(i);
    const at = PAGE.labels[array.labels[i]].indexOf(where[dim]);
    start = at < 0 ? NaN : start + at * array.strides[i];
  });
  return (labels) => {
    let at = start;
    for (const i of free) {
      const position = PAGE.labels[array.labels[i]].indexOf(labels[array.dims[i]]);
      at = position < 0 ? NaN : at + position * array.strides[i];
    }
    return Number.isNaN(at) ? NaN : array.numbers[at];
  };
}

// All dimensions of a measure with the labels that any of its arrays has, in order.
function dimensionsOf(measure) {
  const found = {};
  for (const curve of measure.curves) {
    const array = PAGE.arrays[curve.value];
    for (const dim of array.dims) {
      const known = found[dim] || [];
      found[dim] = [...new Set([...known, ...labelsOf(array, dim)])];
    }
  }
  for (const dim of Object.keys(found)) {
    if (found[dim].every((one) => typeof one === "number")) found[dim].sort((a, b) => a - b);
  }
  return found;
}

// "Set" of a number in five digits, as axes and tables have it.
function digits(value, count = 5) {
  if (value === null || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e6 ? value.toExponential(count - 2) : String(Number(value.toPrecision(count)));
}

function isPoint(dim) {
  return /^(kernel_)?point(_prime)?$/.test(dim);
}

function labelWords(dim, label) {
  if (isPoint(dim) && PAGE.points.length) return PAGE.points[label];
  if (dim === "split") return label === "train" ? "training points" : "test points";
  return typeof label === "number" ? digits(label) : String(label);
}
