/* Measuring: heights from scripts of numbers, lengths, profiles and areas. */
"use strict";

(() => {
  const { data, map, element } = TMP;
  const byId = (id) => document.getElementById(id);
  const facts = data.heights;
  const unit = data.unit;

  /* Heights ------------------------------------------------------------------------------ */

  const there = new Set(facts ? facts.tiles : []);
  const arrived = new Map(); // name: promise of a tile
  const takers = new Map(); // name: what is done with it when its script has run

  TMP.take = (name, rows, cols, base, step, text) => takers.get(name)(unpack(rows, cols, base, step, text));

  async function unpack(rows, cols, base, step, text) {
    if (!window.DecompressionStream) throw new Error("This browser is too old to read heights; take one of 2023 or later.");
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const all = new Uint8Array(await new Response(stream).arrayBuffer());
    const count = rows * cols;
    const code = new Uint16Array(count), ground = new Uint16Array(count);
    let sum = 0;
    for (let n = 0; n < count; n++) {
      sum = (sum + all[n] + 256 * all[count + n]) & 65535;
      code[n] = sum;
      ground[n] = (sum - all[3 * count + n] - 256 * all[4 * count + n]) & 65535;
    }
    return { cols, base, step, surface: code, ground, doubt: all.subarray(2 * count, 3 * count) };
  }

  function load(name) {
    if (!arrived.has(name)) {
      arrived.set(name, new Promise((resolve, reject) => {
        const script = element("script", "", { src: `heights/${name}.js` });
        takers.set(name, resolve);
        script.onload = () => script.remove();
        script.onerror = () => reject(new Error(`heights/${name}.js cannot be read`));
        document.head.append(script);
      }));
    }
    return arrived.get(name);
  }

  /* What is known of a place: surface, sigma, ground; null where it is not. */
  async function heightAt({ x, y }) {
    const nothing = { surface: null, sigma: null, ground: null };
    if (!facts) return nothing;
    const row = Math.floor((facts.y - y) / facts.cell), col = Math.floor((x - facts.x) / facts.cell);
    if (row < 0 || col < 0 || row >= facts.rows || col >= facts.cols) return nothing;
    const i = Math.floor(row / facts.tile), j = Math.floor(col / facts.tile);
    const name = `r${i}c${j}`;
    if (!there.has(name)) return nothing;
    const tile = await load(name);
    const n = (row - i * facts.tile) * tile.cols + (col - j * facts.tile);
    const height = (code) => (code ? tile.base + (code - 1) * tile.step : null);
    const doubt = tile.doubt[n];
    return {
      surface: height(tile.surface[n]),
      sigma: facts.sigma && doubt ? facts.sigma[0] * facts.sigma[1] ** (doubt - 1) : null,
      ground: facts.ground ? height(tile.ground[n]) : null,
    };
  }
  TMP.heightAt = heightAt;

  /* Geometry ----------------------------------------------------------------------------- */

  const distance = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);
  TMP.lengthOf = (points) => points.slice(1).reduce((sum, point, n) => sum + distance(points[n], point), 0);
  TMP.areaOf = (points) => {
    const { x: x0, y: y0 } = points[0]; // about a corner, as map coordinates are large
    let twice = 0;
    points.forEach((a, n) => {
      const b = points[(n + 1) % points.length];
      twice += (a.x - x0) * (b.y - y0) - (b.x - x0) * (a.y - y0);
    });
    return Math.abs(twice) / 2;
  };

  async function profileOf(points) {
    const length = TMP.lengthOf(points);
    const step = Math.max(facts.cell, length / 1500);
    const found = [];
    let before = 0;
    for (let n = 0; n + 1 < points.length; n++) {
      const [a, b] = [points[n], points[n + 1]];
      const part = distance(a, b);
      const count = Math.max(1, Math.round(part / step));
      for (let k = n ? 1 : 0; k <= count; k++) {
        const at = { x: a.x + ((b.x - a.x) * k) / count, y: a.y + ((b.y - a.y) * k) / count };
        found.push({ ...at, along: before + (part * k) / count, ...(await heightAt(at)) });
      }
      before += part;
    }
    return found;
  }
  TMP.profileOf = profileOf;

  /* Tools -------------------------------------------------------------------------------- */

  let tool = null, points = [], ended = false, turn = 0;
  const drawn = L.layerGroup().addTo(map);
  const hover = L.circleMarker([0, 0], { radius: 6, color: "#fff", weight: 2, fillColor: "#1d2429", fillOpacity: 1 });
  const mark = "#a3114f";

  function choose(name) {
    tool = tool === name ? null : name;
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", button.dataset.tool === tool);
    }
    map.getContainer().classList.toggle("measuring", tool !== null);
    if (tool) map.doubleClickZoom.disable();
    else map.doubleClickZoom.enable();
    points = [];
    ended = false;
    draw();
    if (tool) map.getContainer().focus({ preventScroll: true });
  }
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.addEventListener("click", () => choose(button.dataset.tool));
  }

  function add(at) {
    if (ended || tool === "height") points = [];
    ended = tool === "height";
    points.push(at);
    draw();
  }
  function end() {
    if (!tool || !points.length) return;
    ended = true;
    draw();
  }
  TMP.addPoint = add;
  TMP.measures = () => tool !== null;

  map.on("click", (event) => { if (tool) add(TMP.toMap(event.latlng)); });
  map.on("dblclick", () => {
    if (!tool || tool === "height") return;
    // A double click was two clicks before: the second is no point of its own.
    if (points.length > 2 && distance(points.at(-1), points.at(-2)) < 3 * metresPerPixel()) points.pop();
    end();
  });
  const metresPerPixel = () => (data.pixel * 2 ** data.levels) / 2 ** map.getZoom();

  const letters = { h: "height", l: "line", a: "area" };
  for (const [letter, name] of Object.entries(letters)) TMP.keys[letter] = () => choose(name);
  TMP.keys.Escape = () => (tool ? choose(tool) : clear());
  TMP.keys.Backspace = () => {
    points.pop();
    ended = false;
    draw();
  };
  TMP.keys.Enter = (event) => {
    if (!tool || event.target !== map.getContainer()) return;
    const at = TMP.toMap(map.getCenter());
    if (points.length && tool !== "height" && distance(points.at(-1), at) < 1e-9) end();
    else add(at);
  };
  const cross = byId("cross");
  map.getContainer().addEventListener("keydown", () => placeCross(true));
  map.getContainer().addEventListener("pointermove", () => placeCross(false));
  function placeCross(wanted) {
    const box = map.getContainer();
    cross.hidden = !(wanted && tool);
    cross.style.left = `${box.offsetLeft + box.clientWidth / 2}px`;
    cross.style.top = `${box.offsetTop + box.clientHeight / 2}px`;
  }

  function clear() {
    tool = null;
    choose(null);
  }
  byId("close-result").addEventListener("click", clear);

  function draw() {
    const now = ++turn;
    drawn.clearLayers();
    hover.remove();
    const places = points.map(TMP.fromMap);
    const shape = tool === "area" && places.length > 2 ? L.polygon : L.polyline;
    if (places.length > 1) {
      drawn.addLayer(shape(places, { color: "#fff", weight: 7, opacity: 0.9, fill: false, interactive: false }));
      drawn.addLayer(shape(places, { color: mark, weight: 3, fillOpacity: 0.15, interactive: false }));
    }
    for (const place of places) {
      drawn.addLayer(L.circleMarker(place, { radius: 5, color: "#fff", weight: 2, fillColor: mark, fillOpacity: 1, interactive: false }));
    }
    byId("result").hidden = !tool;
    TMP.remember();
    if (tool) tell(now);
  }

  function rows(list) {
    const box = element("dl");
    for (const [name, value] of list) if (value) box.append(element("dt", name), element("dd", value));
    return box;
  }
  function say(value, sigma) {
    if (value === null) return "not known here";
    if (!sigma) return `${value.toFixed(2)} ${unit}`;
    const digits = sigma < 0.0095 ? 3 : 2;
    return `${value.toFixed(digits)} ± ${sigma.toFixed(digits)} ${unit}`;
  }
  const sayLength = (value) => `${value.toFixed(value < 100 ? 2 : 1)} ${unit}`;
  const sayArea = (value) => {
    const square = unit === "m" ? "m²" : "square units";
    const hectares = unit === "m" && value >= 10000 ? ` (${(value / 10000).toFixed(3)} ha)` : "";
    return `${value.toFixed(value < 1000 ? 2 : 0)} ${square}${hectares}`;
  };

  async function tell(now) {
    const box = byId("measured");
    const prompts = { height: "Tap a place.", line: "Tap along a line.", area: "Tap the corners." };
    if (!points.length) return box.replaceChildren(element("p", prompts[tool]));
    try {
      const told = await { height: tellHeight, line: tellLine, area: tellArea }[tool]();
      if (now === turn) box.replaceChildren(...told);
    } catch (error) {
      if (now === turn) box.replaceChildren(element("p", error.message));
    }
  }

  async function tellHeight() {
    const [at] = points;
    const { surface, sigma, ground } = await heightAt(at);
    const above = surface !== null && ground !== null ? surface - ground : null;
    return [rows([
      ["surface", say(surface, sigma)],
      ["bare ground", facts && facts.ground ? say(ground) : ""],
      ["above the ground", above === null ? "" : say(above)],
      ["map", TMP.onGrid(at)],
      ["latitude, longitude", TMP.onEarth(at)],
    ])];
  }

  async function tellLine() {
    const length = TMP.lengthOf(points);
    if (points.length < 2 || !facts) return [rows([["length", sayLength(length)]])];
    const profile = await profileOf(points);
    const [a, b] = [profile[0], profile.at(-1)];
    const rise = a.surface !== null && b.surface !== null ? b.surface - a.surface : null;
    const sigma = a.sigma && b.sigma ? Math.hypot(a.sigma, b.sigma) : 0;
    const rest = [
      ["length", sayLength(length)],
      ["from end to end", rise === null ? "" : `${rise < 0 ? "−" : "+"}${say(Math.abs(rise), sigma)}`],
    ];
    if (profile.every((at) => at.surface !== null)) {
      const along = profile.slice(1).reduce(
        (sum, at, n) => sum + Math.hypot(at.along - profile[n].along, at.surface - profile[n].surface), 0);
      rest.push(["over the surface", sayLength(along)]);
    }
    const save = element("button", "Save the profile as CSV", { type: "button" });
    save.addEventListener("click", () => saveProfile(profile));
    const known = profile.filter((at) => at.surface !== null || at.ground !== null);
    return [rows(rest), ...(known.length > 1 ? [chart(profile, known), save] : [])];
  }

  async function tellArea() {
    if (points.length < 3) return [element("p", "Three corners or more.")];
    const around = TMP.lengthOf([...points, points[0]]);
    return [rows([["area", sayArea(TMP.areaOf(points))], ["perimeter", sayLength(around)]])];
  }

  function saveProfile(profile) {
    const number = (value, digits) => (value === null ? "" : value.toFixed(digits));
    const lines = profile.map((at) => [
      at.along.toFixed(3), at.x.toFixed(3), at.y.toFixed(3),
      number(at.surface, 3), number(at.sigma, 4), number(at.ground, 3),
    ].join(","));
    const text = ["along,x,y,surface,sigma,ground", ...lines, ""].join("\n");
    const link = element("a", "", { download: "profile.csv", href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  /* A profile, drawn --------------------------------------------------------------------- */

  function svg(tag, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    return made;
  }

  function steps(low, high, most) {
    const rough = (high - low) / most;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * unit).find((size) => size >= rough);
    const found = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) found.push(n * step);
    return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  }

  function chart(profile, known) {
    const width = 400, height = 190, left = 50, right = 8, top = 18, bottom = 32;
    const heights = known.flatMap((at) => [at.surface, at.ground]).filter((value) => value !== null);
    let low = Math.min(...heights), high = Math.max(...heights);
    const pad = Math.max(0.05 * (high - low), 0.02);
    [low, high] = [low - pad, high + pad];
    const length = profile.at(-1).along || 1;
    const px = (along) => left + ((width - left - right) * along) / length;
    const py = (value) => top + ((height - top - bottom) * (high - value)) / (high - low);
    const box = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Profile over ${sayLength(length)}, from ${low.toFixed(2)} to ${high.toFixed(2)} ${unit}` });
    const up = steps(low, high, 5), on = steps(0, length, 5);
    for (const value of up.found) {
      box.append(svg("line", { x1: left, x2: width - right, y1: py(value), y2: py(value), stroke: "#d5dade" }));
      box.append(svg("text", { x: left - 5, y: py(value) + 4, "text-anchor": "end" }, value.toFixed(up.digits)));
    }
    for (const value of on.found) {
      const anchor = value > 0.97 * length ? "end" : "middle";
      box.append(svg("text", { x: px(value), y: height - bottom + 16, "text-anchor": anchor }, value.toFixed(on.digits)));
    }
    box.append(svg("text", { x: left, y: 11 }, `height, ${unit}`));
    box.append(svg("text", { x: width - right, y: height - 3, "text-anchor": "end" }, `along the line, ${unit}`));
    const line = (key, lower) => {
      let path = "", pen = false;
      for (const at of profile) {
        if (at[key] === null) { pen = false; continue; }
        path += `${pen ? "L" : "M"}${px(at.along).toFixed(1)} ${py(at[key]).toFixed(1)}`;
        pen = true;
      }
      box.append(svg("path", { d: path, fill: "none", ...lower }));
    };
    for (const at of profile) {
      if (at.surface === null || !at.sigma) continue;
      const x = px(at.along).toFixed(1);
      box.append(svg("line", { x1: x, x2: x, y1: py(Math.min(at.surface + at.sigma, high)), y2: py(Math.max(at.surface - at.sigma, low)), stroke: "#9fcdbf", "stroke-width": 1.2 }));
    }
    if (facts.ground) line("ground", { stroke: "#8a4b00", "stroke-width": 1.5, "stroke-dasharray": "4 3" });
    line("surface", { stroke: "#1f6f5c", "stroke-width": 1.8 });
    const keys = `surface, with its doubt${facts.ground ? "; dashed: bare ground" : ""}`;
    box.append(svg("text", { x: width - right, y: 11, "text-anchor": "end" }, keys));
    const stick = svg("line", { y1: top, y2: height - bottom, stroke: "#1d2429" });
    box.append(stick);
    stick.style.display = "none";
    box.addEventListener("pointermove", (event) => {
      const frame = box.getBoundingClientRect();
      const along = (((event.clientX - frame.left) / frame.width) * width - left) / (width - left - right) * length;
      const at = profile.reduce((best, one) => (Math.abs(one.along - along) < Math.abs(best.along - along) ? one : best));
      stick.style.display = "";
      stick.setAttribute("x1", px(at.along));
      stick.setAttribute("x2", px(at.along));
      hover.setLatLng(TMP.fromMap(at)).addTo(map);
      byId("where").textContent = `${at.along.toFixed(2)} ${unit} along: ${say(at.surface, at.sigma)}`;
    });
    box.addEventListener("pointerleave", () => {
      stick.style.display = "none";
      hover.remove();
    });
    return box;
  }

  /* The address -------------------------------------------------------------------------- */

  TMP.measured = () =>
    tool && points.length
      ? { tool, points: points.map((at) => `${at.x.toFixed(3)},${at.y.toFixed(3)}`).join(";") }
      : {};
  TMP.recallMeasured = (said) => {
    const name = said.get("tool");
    if (!Object.values(letters).includes(name)) return;
    const places = (said.get("points") || "").split(";").map((text) => text.split(",").map(Number));
    const [x0, y0, x1, y1] = [data.x, data.y - data.height, data.x + data.width, data.y];
    tool = null;
    choose(name);
    points = places.filter(([x, y]) => x >= x0 && x <= x1 && y >= y0 && y <= y1).map(([x, y]) => ({ x, y }));
    ended = true;
    draw();
  };
})();
