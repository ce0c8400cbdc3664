/* Draws the figures of a report, and ranks its trainings at any target. */
(function () {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const views = {};
  const scales = {};
  let target = data.target;
  let all = false;

  const digits = (value) => String(Number(value.toPrecision(6)));
  /* Moved targets are multiples of a step: a thousandth of an accuracy. */
  const step = data.levels ? data.levels.step : 0.001;
  const snapped = (level) => Number((Math.round(level / step) * step).toPrecision(12));
  const trials = (count) => `${count} ${count === 1 ? "trial" : "trials"}`;

  /* Energy of each training run to a target: at its first evaluation at it or better. The data hold
     only the points of a curve that beat all earlier ones, as [J, value] and as text. */

  function hitOf(row, level) {
    const point = row.points.find(([, value]) => data.sign * value >= data.sign * level);
    return point ? { energy: point[0], value: point[1], words: point.slice(2) } : null;
  }

  function ranked(level) {
    const rows = data.ranking.map((row) => ({ row, hit: hitOf(row, level) }));
    return rows.sort((one, other) => {
      if (!one.hit || !other.hit) {
        return one.hit ? -1 : other.hit ? 1 : one.row.trial - other.row.trial;
      }
      /* The answer of the study is first at the target that it is for. */
      const first = level === data.target ? other.row.answer - one.row.answer : 0;
      return (
        first ||
        one.hit.energy - other.hit.energy ||
        data.sign * (other.hit.value - one.hit.value) ||
        one.row.trial - other.row.trial
      );
    });
  }

  const nameOf = (row) => row.setup + (row.mark ? ` (${row.mark})` : "");

  function cellsOf({ row, hit }, index) {
    if (hit) return [String(index + 1), nameOf(row), ...hit.words, String(row.trial), "reached"];
    return ["", nameOf(row), row.used, "-", "-", String(row.trial), row.otherwise];
  }

  function showRanking(rows) {
    const table = byId("ranking");
    if (!table) return;
    const shown = all ? rows : rows.slice(0, data.shown);
    const body = document.createElement("tbody");
    shown.forEach((ranking, index) => {
      const line = body.insertRow();
      line.className = ranking.hit ? (index === 0 ? "best" : "") : "missed";
      cellsOf(ranking, index).forEach((text, column) => {
        const cell = line.insertCell();
        cell.textContent = text;
        if (column !== 1 && column !== 6) cell.className = "number";
      });
    });
    table.tBodies[0].replaceWith(body);
    byId("ranking-target").textContent = digits(target);
    const rest = byId("ranking-rest");
    if (rest) rest.hidden = true;
    const more = byId("ranking-more");
    more.hidden = rows.length <= data.shown;
    more.textContent = all ? `Show the first ${data.shown}` : `Show all ${rows.length}`;
  }

  function showResult(rows) {
    const reached = rows.filter(({ hit }) => hit).length;
    const best = rows[0];
    const verb = best && best.row.answer && target === data.target ? "is recommended and needed" : "needed the least,";
    const text = reached
      ? `To ${digits(target)}: ${best.row.setup} ${verb} ${best.hit.words[0]} ` +
        `(trial ${best.row.trial}); ${reached} of ${trials(rows.length)} reached it.`
      : `No trial reached ${digits(target)}.`;
    byId("target-says").textContent = text;
  }

  function moveLine(rows) {
    const view = views.front;
    if (!view) return;
    const hit = rows.length ? rows[0].hit : null;
    const at = hit ? { best_e: hit.energy, best_a: hit.value } : { best_e: 0, best_a: 0 };
    const signals = { ...at, target };
    /* At the study's own target the ring is around what is recommended, which the figure says. */
    for (const { name, value } of data.figures.front.params) {
      view.signal(name, target === data.target ? value : signals[name]);
    }
    view.runAsync();
  }

  function moveTo(level, from) {
    if (!Number.isFinite(level) || (data.share && !(level > 0 && level <= 1))) return;
    target = level;
    const range = byId("target-range");
    const number = byId("target-number");
    if (from !== range) range.value = level;
    if (from !== number) number.value = digits(level);
    range.setAttribute("aria-valuetext", digits(level));
    const rows = ranked(target);
    showRanking(rows);
    showResult(rows);
    moveLine(rows);
  }

  function listen() {
    const form = byId("target-form");
    if (!form) return;
    const range = byId("target-range");
    const number = byId("target-number");
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    range.addEventListener("input", () => moveTo(snapped(range.value), range));
    /* A key moves by a step: "any" as the step of the element keeps the target of a study exact. */
    range.addEventListener("keydown", (event) => {
      const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      const level = snapped(target + steps[event.key] * step);
      moveTo(Math.min(Math.max(level, Number(range.min)), Number(range.max)));
    });
    number.addEventListener("change", () => moveTo(Number(number.value), number));
    byId("target-reset").addEventListener("click", () => moveTo(data.target));
    byId("ranking-more").addEventListener("click", () => {
      all = !all;
      showRanking(ranked(target));
    });
    moveTo(data.target);
  }

  /* The target line in the figure can be dragged. */
  function listenToDrags() {
    const element = document.querySelector("[data-figure=front]");
    if (!element || target === null) return;
    let held = false;
    const y = () => views.front.scale("y");
    const { error } = data.figures.front.usermeta; // drawn is 1 - value
    const drawn = (value) => (error ? 1 - value : value);
    const inside = (event) => {
      const edge = views.front.padding().top + views.front.origin()[1];
      return event.clientY - element.querySelector("svg").getBoundingClientRect().top - edge;
    };
    const near = (event) => views.front && Math.abs(y()(drawn(target)) - inside(event)) < 8;
    element.addEventListener("pointerdown", (event) => {
      held = near(event);
      if (held) event.preventDefault();
    });
    window.addEventListener("pointermove", (event) => {
      if (held) {
        const level = snapped(drawn(y().invert(inside(event))));
        moveTo(data.share ? Math.min(Math.max(level, 0.001), 1) : level);
      } else if (element.contains(event.target)) {
        element.style.cursor = near(event) ? "ns-resize" : "";
      }
    });
    window.addEventListener("pointerup", () => {
      held = false;
    });
  }

  /* Figures */

  function scaled(spec, type) {
    const copy = JSON.parse(JSON.stringify(spec));
    for (const layer of copy.layer) {
      const x = layer.encoding && layer.encoding.x;
      if (!x || !x.scale || !x.scale.type) continue;
      x.scale.type = type;
      if (type === "linear") delete x.axis.values;
    }
    return copy;
  }

  async function draw(name) {
    const element = document.querySelector(`[data-figure="${name}"]`);
    const spec = scales[name] ? scaled(data.figures[name], scales[name]) : data.figures[name];
    element.style.minWidth = `${element.dataset.least}px`;
    const options = { renderer: "svg", actions: false, config: data.config };
    if (views[name]) views[name].finalize();
    const embedded = await window.vegaEmbed(element, spec, options);
    views[name] = embedded.view;
    element.querySelector("svg").setAttribute("aria-hidden", "true"); // the element has the description
    if (name === "front" && target !== null) moveLine(ranked(target));
  }

  function listenToScales() {
    for (const choice of document.querySelectorAll("[data-scale-of]")) {
      const name = choice.dataset.scaleOf;
      choice.hidden = false;
      choice.addEventListener("click", (event) => {
        const type = event.target.dataset.scale;
        if (!type) return;
        for (const button of choice.querySelectorAll("button")) {
          button.setAttribute("aria-pressed", String(button === event.target));
        }
        scales[name] = type;
        draw(name);
      });
    }
  }

  function listenToCopy() {
    const button = byId("copy");
    if (!button || !navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(byId("command").textContent);
      button.textContent = "Copied";
    });
  }

  /* Paper has no buttons, so all tables print open except long ones, which are files anyway. */
  function printAll() {
    let opened = [];
    window.addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details:not([open], .long)")];
      for (const details of opened) details.open = true;
    });
    window.addEventListener("afterprint", () => {
      for (const details of opened) details.open = false;
    });
  }

  async function drawAll() {
    for (const name of Object.keys(data.figures)) await draw(name);
    document.documentElement.dataset.drawn = "all";
  }

  listen();
  listenToScales();
  listenToDrags();
  listenToCopy();
  printAll();
  drawAll();
})();
