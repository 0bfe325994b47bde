"use strict";
// Native inputs for the state of a figure: every one is reached by the keyboard and has a label.

let controlCount = 0;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function labelled(words, input, after = null) {
  input.id = `control-${++controlCount}`;
  return element("div", { class: "control" }, element("label", { for: input.id }, words), input, after);
}

function choice(words, options, chosen, change) {
  const input = element("select", { onchange: () => change(input.selectedIndex) },
    ...options.map((one, i) => element("option", { selected: i === chosen }, one)));
  return labelled(words, input);
}

function slider(dim, labels, chosen, change) {
  const output = element("output");
  const input = element("input", {
    type: "range", min: 0, max: labels.length - 1, step: 1, value: labels.indexOf(chosen), "data-dim": dim,
    oninput: () => { say(); change(labels[input.valueAsNumber]); },
  });
  const say = () => {
    const words = labelWords(dim, labels[input.valueAsNumber]);
    output.textContent = words;
    input.setAttribute("aria-valuetext", words);
  };
  say();
  return labelled(PAGE.dimensions[dim], input, output);
}

function tick(words, checked, change) {
  const input = element("input", { type: "checkbox", onchange: () => change(input.checked) });
  input.checked = checked;
  return element("label", { class: "tick" }, input, words);
}

// Which labels of a dimension have a curve; each is shown with the colour and marker that it has in the figure.
function ticks(dim, labels, shown, change) {
  const boxes = labels.map((label, i) => {
    const box = tick(labelWords(dim, label), shown.includes(label), (on) => {
      const others = shown.filter((one) => one !== label);
      shown.splice(0, shown.length, ...(on ? [...others, label] : others));
      change();
    });
    box.style.setProperty("--shade", shade(i, labels.length));
    return box;
  });
  const all = (some) => { shown.splice(0, shown.length, ...some); change(true); };
  const buttons = labels.length < 4 ? [] : [
    element("button", { type: "button", class: "small", onclick: () => all(labels) }, "all"),
    element("button", { type: "button", class: "small", onclick: () => all([]) }, "none"),
  ];
  return element("fieldset", { class: "ticks" },
    element("legend", {}, PAGE.dimensions[dim]), element("div", { class: "boxes" }, ...boxes, ...buttons));
}

function shade(place, count) {
  const shades = PAGE.shades;
  return shades[Math.round((place / Math.max(count - 1, 1)) * (shades.length - 1))];
}

// Dimensions that count something get sliders, others a list.
function chooser(dim, labels, chosen, change) {
  const sliding = /^(time|rank|layer|block|step|token)/.test(dim) || labels.length > 60;
  if (sliding) return slider(dim, labels, chosen, change);
  return choice(PAGE.dimensions[dim], labels.map((label) => labelWords(dim, label)), labels.indexOf(chosen),
    (i) => change(labels[i]));
}
