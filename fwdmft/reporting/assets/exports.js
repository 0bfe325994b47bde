"use strict";
// What a reader takes away: pictures and tables.

function download(name, blob) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function quoted(cell) {
  if (typeof cell === "number") return Number.isNaN(cell) ? "" : String(Number(cell.toPrecision(8)));
  return /[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : String(cell);
}

function csv({ heads, rows }) {
  return [heads, ...rows].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
}

// One picture: title, panels side by side, what is chosen in words, and the legend or the scale of colours below.
// keys: [{draw(pen), width, words}], a sign with its words each.
async function picture(views, title, words, keys) {
  const gap = 16, margin = 16, line = 20;
  const parts = views.map((view) => ({ view, canvas: view.export("png", true).canvas }));
  const wide = parts.reduce((sum, { view }) => sum + view.bbox.width + gap, -gap);
  const high = Math.max(...parts.map(({ view }) => view.bbox.height));
  const scale = parts[0].canvas.width / parts[0].view.bbox.width;
  const pen = element("canvas").getContext("2d");
  const fonts = { title: "600 15px system-ui, sans-serif", words: "12px system-ui, sans-serif" };
  const width = Math.max(wide, 340);
  pen.font = fonts.words;
  const entries = keys.map((key) => ({ ...key, room: key.width + 6 + pen.measureText(key.words).width + 18 }));
  const below = rowsOf(words.map((one) => ({ words: one, width: 0, room: pen.measureText(one).width + 18 })), width);
  const legend = rowsOf(entries, width);
  pen.font = fonts.title;
  const head = rowsOf(title.split(" ").map((one) => ({ words: one, width: 0, room: pen.measureText(one + " ").width })), width);
  pen.canvas.width = scale * (width + 2 * margin);
  pen.canvas.height = scale * (high + 2 * margin + line * (head.length + below.length + legend.length) + 12);
  pen.scale(scale, scale);
  pen.fillStyle = "white";
  pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
  pen.translate(margin, margin);
  drawRows(pen, head, fonts.title, line);
  let left = 0;
  for (const { view, canvas } of parts) {
    pen.drawImage(canvas, left, 0, view.bbox.width, view.bbox.height);
    left += view.bbox.width + gap;
  }
  pen.translate(0, high + 12);
  drawRows(pen, legend, fonts.words, line);
  drawRows(pen, below, fonts.words, line);
  return new Promise((done) => pen.canvas.toBlob(done, "image/png"));
}

// Entries in rows that are no wider than the picture.
function rowsOf(entries, width) {
  const rows = [];
  let left = Infinity;
  for (const entry of entries) {
    if (left + entry.room > width + 18) {
      rows.push([]);
      left = 0;
    }
    rows.at(-1).push({ ...entry, left });
    left += entry.room;
  }
  return rows;
}

function drawRows(pen, rows, font, line) {
  for (const row of rows) {
    for (const { left, width, words, draw } of row) {
      pen.save();
      pen.translate(left, line / 2);
      if (draw) draw(pen);
      pen.restore();
      pen.font = font;
      pen.fillStyle = "#16181d";
      pen.textBaseline = "middle";
      pen.fillText(words, left + (width ? width + 6 : 0), line / 2);
    }
    pen.translate(0, line);
  }
}
