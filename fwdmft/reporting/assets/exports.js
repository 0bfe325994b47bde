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

// One picture of all panels of a figure, its title above and what is chosen below.
async function picture(views, title, words) {
  const scale = 2, gap = 16, margin = 16, line = 22;
  const parts = views.map((view) => ({ view, canvas: view.export("png", true).canvas }));
  const size = ({ view }) => [view.bbox.width, view.bbox.height];
  const width = parts.reduce((sum, part) => sum + size(part)[0] + gap, 2 * margin - gap);
  const height = Math.max(...parts.map((part) => size(part)[1])) + 2 * margin + 2 * line;
  const sheet = element("canvas", { width: scale * width, height: scale * height });
  const pen = sheet.getContext("2d");
  pen.scale(scale, scale);
  pen.fillStyle = "white";
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = "#111";
  pen.font = "600 15px system-ui, sans-serif";
  pen.fillText(title, margin, margin + 12, width - 2 * margin);
  pen.font = "12px system-ui, sans-serif";
  pen.fillText(words, margin, height - margin, width - 2 * margin);
  let left = margin;
  for (const part of parts) {
    const [wide, high] = size(part);
    pen.drawImage(part.canvas, left, margin + line, wide, high);
    left += wide + gap;
  }
  return new Promise((done) => sheet.toBlob(done, "image/png"));
}
