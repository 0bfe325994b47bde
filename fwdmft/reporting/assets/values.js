"use strict";
// What a figure draws, as plain numbers, from its family and the state of its controls.
//
// state: {measure, across, apart, shown, where, logX, logY}: the horizontal dimension, the dimension that tells curves
// apart with the labels of it that are shown, and the label chosen for each other dimension.

function curvesOf(family, state) {
  const measure = family.measures[state.measure];
  const dims = dimensionsOf(measure);
  const fixed = { ...state.where };
  delete fixed[state.across];
  delete fixed[state.apart];
  const apart = state.apart ? dims[state.apart] : [];
  const found = [];
  for (const curve of measure.curves) {
    const array = PAGE.arrays[curve.value];
    const split = state.apart && array.dims.includes(state.apart);
    for (const label of split ? apart.filter((one) => state.shown.includes(one)) : [null]) {
      const where = split ? { ...fixed, [state.apart]: label } : fixed;
      const value = reader(curve.value, where);
      const error = curve.error === null ? null : reader(curve.error, where);
      const own = labelsOf(array, state.across);
      const x = dims[state.across].filter((one) => !own || own.includes(one));
      const at = x.map((one) => ({ [state.across]: one }));
      const y = at.map(value);
      if (y.every(Number.isNaN)) continue;
      found.push({
        side: curve.name,
        label: label === null ? "" : label,
        name: curve.name + (split ? `, ${shortDimension(state.apart)} = ${labelWords(state.apart, label)}` : ""),
        look: curve.look,
        place: split ? apart.indexOf(label) : null,
        count: apart.length,
        x, y,
        error: error ? at.map(error) : null,
      });
    }
  }
  return found;
}

// The panels of a matrix: one for each curve of the measure, {name, look, rows, columns, cells}.
function matricesOf(family, state) {
  const measure = family.measures[state.measure];
  const [row, column] = family.pairs[state.pair];
  const where = { ...state.where };
  delete where[row];
  delete where[column];
  return measure.curves.map((curve) => {
    const array = PAGE.arrays[curve.value];
    const value = reader(curve.value, where);
    const error = curve.error === null ? null : reader(curve.error, where);
    const rows = labelsOf(array, row) || [], columns = labelsOf(array, column) || [];
    const cells = rows.flatMap((r, i) => columns.map((c, j) => {
      const at = { [row]: r, [column]: c };
      return { i, j, row: r, column: c, value: value(at), error: error ? error(at) : null };
    }));
    const at = array.dims.includes("width") ? `, N = ${where.width}` : "";
    return { side: curve.name, name: curve.name + at, look: curve.look, rows, columns, cells };
  }).filter((panel) => panel.rows.length && panel.columns.length);
}

// Curves or matrices as rows of a table, the same for the eye and for files.
function tableOfCurves(curves, { across, apart }) {
  const rows = curves.flatMap((one) => one.x.map((x, i) =>
    [one.side, ...(apart ? [one.label] : []), x, one.y[i], one.error ? one.error[i] : NaN]));
  return { heads: ["side", ...(apart ? [apart] : []), across, "value", "standard_error"], rows };
}

function tableOfMatrices(panels, pair) {
  const rows = panels.flatMap((panel) => panel.cells.map((cell) =>
    [panel.side, cell.row, cell.column, cell.value, cell.error === null ? NaN : cell.error]));
  return { heads: ["side", ...pair, "value", "standard_error"], rows };
}

function shortDimension(dim) {
  const short = { width: "N", layer: "ℓ", time: "t", time_prime: "t′", layer_prime: "ℓ′" };
  return short[dim] || PAGE.dimensions[dim];
}
