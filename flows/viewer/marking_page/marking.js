// Marks of control points in photographs; what it says of coordinates is in tmp.geo.control.Mark.
"use strict";
(() => {
  const data = window.TMP_MARKING;
  const $ = (id) => document.getElementById(id);
  const STORE = `tmp-marks ${data.survey} ${data.points.map((point) => point.name).join(" ")}`;
  const ZOOMS = [0.5, 1, 2, 4, 8];
  const key = (point, photograph) => JSON.stringify([point, photograph]);
  const marks = new Map(data.marks.map(([point, photograph, x, y]) => [key(point, photograph), [x, y]]));
  const past = [];
  let point = 0, sight = 0, zoom = 1, cross = null;

  try {
    for (const [name, place] of JSON.parse(localStorage.getItem(STORE) || "[]")) {
      if (place) marks.set(name, place); else marks.delete(name);
    }
  } catch { /* a browser that keeps nothing: marks last as long as the page */ }

  const changed = new Map();
  const keep = () => {
    try { localStorage.setItem(STORE, JSON.stringify([...changed])); } catch { /* as above */ }
  };
  const here = () => data.points[point].sights[sight];
  const nameHere = () => key(data.points[point].name, here().photograph);

  function set(name, place, step = true) {
    if (step) past.push([point, sight, name, marks.get(name) || null]);
    if (place) marks.set(name, place); else marks.delete(name);
    changed.set(name, place);
    keep();
  }

  function go(to, where) {
    point = to;
    sight = Math.max(0, Math.min(where, data.points[point].sights.length - 1));
    draw(true);
  }

  function move(step) {
    const count = data.points[point].sights.length;
    if (sight + step >= 0 && sight + step < count) return go(point, sight + step);
    const next = point + step;
    if (next < 0 || next >= data.points.length) return draw(false);
    go(next, step > 0 ? 0 : data.points[next].sights.length - 1);
  }

  function place(element, x, y) {
    element.style.left = `${(x - here().left) * ZOOMS[zoom]}px`;
    element.style.top = `${(y - here().top) * ZOOMS[zoom]}px`;
  }

  function draw(moved) {
    const list = $("points");
    list.replaceChildren(...data.points.map((one, i) => {
      const item = document.createElement("li"), button = document.createElement("button");
      const count = one.sights.filter((shown) => marks.has(key(one.name, shown.photograph))).length;
      const small = document.createElement("small");
      small.textContent = `${one.role}, marked in ${count} of ${one.sights.length} photographs`;
      button.type = "button";
      button.append(one.name, small);
      button.setAttribute("aria-current", String(i === point));
      button.addEventListener("click", () => go(i, 0));
      item.append(button);
      return item;
    }));
    const one = data.points[point], shown = here();
    $("stage").hidden = !shown;
    if (!shown) {
      $("said").textContent = `${one.name}: no photograph should show it. ${one.said}`;
      return;
    }
    $("said").textContent = `${one.name} in ${shown.photograph}, ${sight + 1} of ${one.sights.length}. ${one.said}`;
    const scale = ZOOMS[zoom], stage = $("stage");
    $("sheet").style.width = `${shown.width * scale}px`;
    $("sheet").style.height = `${shown.height * scale}px`;
    if ($("piece").getAttribute("src") !== shown.file) $("piece").src = shown.file;
    const marked = marks.get(nameHere());
    if (moved || !cross) cross = marked ? [...marked] : [shown.x, shown.y];
    $("mark").hidden = !marked;
    if (marked) place($("mark"), ...marked);
    place($("guess"), shown.x, shown.y);
    place($("cross"), ...cross);
    if (moved) {
      stage.scrollLeft = (cross[0] - shown.left) * scale - stage.clientWidth / 2;
      stage.scrollTop = (cross[1] - shown.top) * scale - stage.clientHeight / 2;
    }
  }

  function mark(x, y) {
    const shown = here();
    const inside = x >= shown.left && y >= shown.top && x <= shown.left + shown.width && y <= shown.top + shown.height;
    if (!inside) return;
    set(nameHere(), [Math.round(x * 100) / 100, Math.round(y * 100) / 100]);
    move(1);
  }

  function undo() {
    const last = past.pop();
    if (!last) return;
    const [toPoint, toSight, name, former] = last;
    set(name, former, false);
    go(toPoint, toSight);
  }

  function field(text) {
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function table() {
    const rows = [...marks].map(([name, [x, y]]) => [...JSON.parse(name), x, y]).sort();
    return ["name,photograph,x_px,y_px", ...rows.map((row) => row.map((one) => field(String(one))).join(","))].join("\n") + "\n";
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
    link.download = "marks.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function zoomBy(step) {
    zoom = Math.max(0, Math.min(ZOOMS.length - 1, zoom + step));
    draw(true);
  }

  const remove = () => { set(nameHere(), null); move(1); };
  const actions = {
    n: () => move(1), p: () => move(-1), x: remove, u: undo, "+": () => zoomBy(1), "=": () => zoomBy(1), "-": () => zoomBy(-1),
  };
  $("stage").addEventListener("click", (event) => {
    const box = $("sheet").getBoundingClientRect(), scale = ZOOMS[zoom];
    // Whole pixels of the screen are told: their middles are meant.
    const x = event.clientX + 0.5 - box.left, y = event.clientY + 0.5 - box.top;
    mark(here().left + x / scale, here().top + y / scale);
  });
  $("stage").addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.1 : 1;
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (by) { cross = [cross[0] + by[0], cross[1] + by[1]]; draw(false); }
    else if (event.key === "Enter") mark(...cross);
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    const action = actions[event.key.toLowerCase()];
    if (action && !event.ctrlKey && !event.metaKey && !event.altKey) action();
  });
  $("undo").addEventListener("click", undo);
  $("save").addEventListener("click", save);
  $("before").addEventListener("click", () => move(-1));
  $("next").addEventListener("click", () => move(1));
  $("remove").addEventListener("click", remove);
  $("closer").addEventListener("click", () => zoomBy(1));
  $("farther").addEventListener("click", () => zoomBy(-1));
  window.addEventListener("resize", () => draw(true));
  const first = data.points.findIndex((one) => one.sights.length);
  go(first < 0 ? 0 : first, 0);
})();
