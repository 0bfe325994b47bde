"use strict";
// A card for each figure: controls, drawing, legend, table, downloads. Cards are drawn when they come into view.

const MOST_LISTED = 400; // rows of a table that are shown; files have all
const FEW_CURVES = 4;

function firstState(family, kind) {
  const measure = family.measures[0];
  return { measure: 0, pair: 0, across: family.across, apart: null, shown: [], where: {}, logX: false,
    fit: false, logY: measure.decades, kind };
}

// Brings a state into line with the dimensions of its measure: what is not there is replaced by what is.
function settled(family, state) {
  const dims = dimensionsOf(family.measures[state.measure]);
  const several = Object.keys(dims).filter((dim) => dims[dim].length > 1);
  if (state.kind === "curves") {
    if (!several.includes(state.across)) state.across = several.includes("time") ? "time" : several[0] || "time";
    if (!dims[state.across]) state.across = Object.keys(dims)[0];
    const rest = several.filter((dim) => dim !== state.across);
    if (!rest.includes(state.apart)) {
      state.apart = [...PAGE.swept, "width", "layer", "split", "point", "kernel_point"].find((dim) => rest.includes(dim)) || rest[0] || null;
      state.shown = [];
    }
    const known = state.apart ? dims[state.apart] : [];
    if (!state.shown.length || !state.shown.every((one) => known.includes(one))) {
      const step = (known.length - 1) / Math.max(Math.min(known.length, FEW_CURVES) - 1, 1);
      state.shown = [...new Set(known.map((_, i) => known[Math.round(i * step)]).filter((one) => one !== undefined))];
    }
  }
  for (const dim of Object.keys(dims)) {
    if (!dims[dim].includes(state.where[dim])) {
      state.where[dim] = /^time/.test(dim) || dim === "width" ? dims[dim][dims[dim].length - 1] : dims[dim][0];
    }
  }
  return { dims, several };
}

class Card {
  constructor(whole, kind) {
    const family = kind === "matrices" ? { ...whole, measures: whole.measures.filter((one) => hasPair(one, whole.pairs)) } : whole;
    this.family = family;
    this.kind = kind;
    this.state = firstState(family, kind);
    const ending = kind === "matrices" && family.curves ? " between " + family.pairs.map((pair) => PAGE.plurals[pair[0]]).join(", ") : "";
    this.title = family.title + ending;
    this.short = family.short + ending;
    this.key = `${family.key}-${kind}`;
    this.controls = element("div", { class: "controls" });
    this.drawing = element("div", { class: `drawing ${kind}`, role: "img",
      "aria-label": `${this.title}, drawn; the same values are in the table below` });
    this.under = element("div", { class: "under" });
    this.listing = element("div", { class: "wide", tabindex: 0, role: "region", "aria-label": `Values of ${this.title}` });
    this.details = element("details", { ontoggle: () => this.list() }, element("summary", {}, "Values as a table"), this.listing);
    const button = (words, act) => element("button", { type: "button", onclick: act }, words);
    this.buttons = element("div", { class: "buttons" },
      button("png", () => this.savePicture()), button("csv", () => this.saveTable()),
      button("reset view", () => this.draw()));
    this.place = element("section", { class: `card figure ${kind}`, id: this.key, "aria-label": this.title },
      element("h2", {}, this.title), family.text ? element("p", { class: "note" }, family.text) : null,
      this.controls, this.drawing, this.under, this.buttons, this.details);
  }

  // Everything anew: after a change of what the figure shows.
  draw() {
    const focused = this.controls.contains(document.activeElement) ? document.activeElement.id : null;
    const names = [...this.controls.querySelectorAll("input, select, button")].map((one) => one.id);
    this.fillControls();
    if (focused) {
      const now = [...this.controls.querySelectorAll("input, select, button")];
      (now[names.indexOf(focused)] || now[0]).focus();
    }
    this.drawAnew();
  }

  fillControls() {
    const { dims, several } = settled(this.family, this.state);
    const { family, state } = this;
    const parts = [];
    if (family.measures.length > 1) {
      parts.push(choice("show", family.measures.map((one) => one.name), state.measure, (i) => {
        state.measure = i;
        state.logY = family.measures[i].decades;
        this.draw();
      }));
    }
    this.kind === "curves" ? this.curveControls(parts, dims, several) : this.matrixControls(parts, dims, several);
    this.controls.replaceChildren(...parts);
  }

  curveControls(parts, dims, several) {
    const { state } = this;
    const named = (dim) => PAGE.dimensions[dim];
    if (several.length > 1) {
      parts.push(choice("horizontal axis", several.map(named), several.indexOf(state.across), (i) => {
        if (several[i] === state.apart) Object.assign(state, { apart: state.across, shown: [] });
        state.across = several[i];
        state.logX = state.across === "width";
        this.draw();
      }));
      const rest = several.filter((dim) => dim !== state.across);
      if (rest.length > 1) {
        parts.push(choice("a curve for each", rest.map(named), rest.indexOf(state.apart), (i) => {
          state.apart = rest[i];
          state.shown = [];
          this.draw();
        }));
      }
    }
    this.choosers(parts, dims, several.filter((dim) => dim !== state.across && dim !== state.apart));
    if (state.apart) {
      parts.push(ticks(state.apart, dims[state.apart], state.shown, (all) => {
        if (all) this.fillTicks(dims);
        this.drawAnew();
      }));
    }
    parts.push(element("div", { class: "axes" },
      tick("log vertical", state.logY, (on) => { state.logY = on; this.drawAnew(); }),
      tick("log horizontal", state.logX, (on) => { state.logX = on; this.drawAnew(); })));
  }

  fillTicks(dims) {
    const boxes = this.controls.querySelectorAll(".ticks input");
    dims[this.state.apart].forEach((label, i) => { boxes[i].checked = this.state.shown.includes(label); });
  }

  matrixControls(parts, dims, several) {
    const { family, state } = this;
    if (family.pairs.length > 1) {
      parts.push(choice("between", family.pairs.map(([row]) => PAGE.plurals[row]), state.pair, (i) => {
        state.pair = i;
        this.draw();
      }));
    }
    this.choosers(parts, dims, several.filter((dim) => !family.pairs[state.pair].includes(dim)));
    parts.push(tick("colours from smallest to largest", state.fit, (on) => { state.fit = on; this.update(); }));
  }

  choosers(parts, dims, chosen) {
    for (const dim of chosen) {
      parts.push(chooser(dim, dims[dim], this.state.where[dim], (label) => {
        this.state.where[dim] = label;
        this.update();
      }));
    }
  }

  // New numbers in the figure that is there, or a new figure if there are more or fewer curves.
  update() {
    const now = this.computed();
    if (now.length !== this.drawn.length || this.kind === "matrices" && !sameShape(now, this.drawn)) return this.drawAnew();
    this.kind === "curves" ? this.refillCurves(now) : this.refillMatrices(now);
    this.drawn = now;
    this.list();
  }

  computed() {
    return this.kind === "curves" ? curvesOf(this.family, this.state) : matricesOf(this.family, this.state);
  }

  refillCurves(curves) {
    const dims = dimensionsOf(this.family.measures[this.state.measure]);
    curves.forEach((curve, i) => { this.sources[i].data = curveColumns(curve, dims, this.state); });
    this.under.replaceChildren(...this.remarks(curves), legendOf(curves));
  }

  refillMatrices(panels) {
    const colors = colorsOf(panels, this.state.fit), pair = this.family.pairs[this.state.pair];
    panels.forEach((panel, i) => {
      const { source, mapper, figure } = this.panels[i];
      mapper.setv({ low: colors.low, high: colors.high, palette: colors.palette });
      source.data = matrixColumns(panel, pair);
      figure.title.text = panel.name;
    });
    this.under.replaceChildren(scaleOf(colors, this.family.measures[this.state.measure].axis));
  }

  async drawAnew() {
    const now = this.computed();
    const turn = (this.turn = (this.turn || 0) + 1);
    this.drawn = now;
    const width = this.place.clientWidth;
    const holder = element("div", { class: "holder" });
    let figures = [];
    if (!now.length) {
      holder.append(element("p", { class: "note" }, "Nothing to draw: no value for this choice."));
      this.under.replaceChildren();
    } else if (this.kind === "curves") {
      const dims = dimensionsOf(this.family.measures[this.state.measure]);
      const made = newCurvesFigure(this.family, this.state, now, dims, width);
      this.sources = made.sources;
      figures = [made.figure];
      this.under.replaceChildren(...this.remarks(now), legendOf(now));
    } else {
      const colors = colorsOf(now, this.state.fit), pair = this.family.pairs[this.state.pair];
      const room = now.length > 1 && width > 560 ? (width - 48) / now.length : width - 32;
      this.panels = now.map((panel) => newMatrixFigure(panel, pair, colors, room));
      figures = this.panels.map((one) => one.figure);
      this.under.replaceChildren(scaleOf(colors, this.family.measures[this.state.measure].axis));
    }
    this.drawing.style.minHeight = `${this.drawing.clientHeight}px`;
    const old = this.views || [];
    this.drawing.replaceChildren(holder);
    this.views = [];
    for (const figure of figures) {
      const view = await Bokeh.Plotting.show(figure, holder);
      if (turn !== this.turn) return discard([view]);
      this.views.push(view);
    }
    discard(old);
    this.drawing.style.minHeight = "";
    this.place.dataset.drawn = turn;
    this.list();
  }

  remarks(curves) {
    const lost = this.state.logY ? curves.reduce((sum, one) => sum + one.y.filter((y) => y <= 0).length, 0) : 0;
    return lost ? [element("p", { class: "note" }, `${lost} values of 0 or less have no place on a logarithmic axis.`)] : [];
  }

  // What is chosen, as pictures and files say it.
  choices() {
    const { dims } = settled(this.family, this.state);
    const free = this.kind === "curves" ? [this.state.across, this.state.apart] : this.family.pairs[this.state.pair];
    const fixed = Object.keys(dims).filter((dim) => !free.includes(dim));
    return Object.fromEntries(fixed.map((dim) => [dim, this.state.where[dim]]));
  }

  table() {
    const made = this.kind === "curves" ? tableOfCurves(this.drawn, this.state)
      : tableOfMatrices(this.drawn, this.family.pairs[this.state.pair]);
    const fixed = { quantity: this.family.key, measure: this.family.measures[this.state.measure].name, ...this.choices() };
    return { heads: [...Object.keys(fixed), ...made.heads], rows: made.rows.map((row) => [...Object.values(fixed), ...row]), shown: made };
  }

  list() {
    if (!this.details.open || !this.drawn) return;
    const { heads, rows } = this.table().shown;
    const cell = (one) => (typeof one === "number" ? element("td", { class: "number" }, digits(one, 6)) : element("td", {}, one));
    const listed = rows.slice(0, MOST_LISTED);
    const more = rows.length > listed.length ? [element("p", { class: "note" }, `${rows.length - listed.length} more rows are in the csv file.`)] : [];
    this.listing.replaceChildren(element("table", {},
      element("thead", {}, element("tr", {}, ...heads.map((one) => element("th", { scope: "col" }, one.replaceAll("_", " "))))),
      element("tbody", {}, ...listed.map((row) => element("tr", {}, ...row.map(cell))))), ...more);
  }

  saveTable() {
    download(`${this.key}.csv`, new Blob([csv(this.table())], { type: "text/csv" }));
  }

  async savePicture() {
    const measure = this.family.measures[this.state.measure], dims = dimensionsOf(measure);
    const chosen = Object.entries(this.choices()).filter(([dim]) => dims[dim].length > 1);
    const words = chosen.map(([dim, label]) => `${PAGE.dimensions[dim]}: ${labelWords(dim, label)}`);
    const keys = this.kind === "curves" ? this.drawn.map(keyOf) : [keyOfScale(colorsOf(this.drawn, this.state.fit), measure.axis)];
    const made = await picture(this.views, `${this.title}: ${measure.name}`, [PAGE.title, ...words], keys);
    download(`${this.key}.png`, made);
  }
}

function hasPair(measure, pairs) {
  const dims = dimensionsOf(measure);
  return pairs.every((pair) => pair.every((dim) => dim in dims));
}

function sameShape(now, before) {
  return now.every((panel, i) => panel.rows.length === before[i].rows.length && panel.columns.length === before[i].columns.length);
}

function discard(views) {
  views.forEach((view) => view.remove());
}

function start() {
  Bokeh.set_log_level("error");
  const cards = PAGE.families.flatMap((family) => [
    ...(family.curves ? [new Card(family, "curves")] : []),
    ...(family.pairs.length ? [new Card(family, "matrices")] : []),
  ]);
  document.getElementById("figures").append(...cards.map((card) => card.place));
  document.getElementById("contents").append(
    ...cards.map((card) => element("a", { href: `#${card.key}` }, card.short)));
  const byPlace = new Map(cards.map((card) => [card.place, card]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      watcher.unobserve(entry.target);
      byPlace.get(entry.target).draw();
    }
  }, { rootMargin: "600px" });
  cards.forEach((card) => watcher.observe(card.place));
  let before = innerWidth;
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (innerWidth === before) return;
      before = innerWidth;
      cards.filter((card) => card.drawn).forEach((card) => card.drawAnew());
    }, 200);
  });
}

start();
