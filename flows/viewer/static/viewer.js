/* The map: layers, comparison, cameras, keys, and the address that holds the view.
   A classic script, as pages opened from a disk may load no module. */
"use strict";

const TMP = { data: window.TMP_DATA };

(() => {
  const data = TMP.data;
  const byId = (id) => document.getElementById(id);
  const coarsest = data.pixel * 2 ** data.levels; // metres to a pixel at zoom 0
  const crs = L.extend({}, L.CRS.Simple, {
    transformation: new L.Transformation(1 / coarsest, 0, -1 / coarsest, 0),
  });
  // Leaflet's coordinates are metres north and east of the map's upper left corner.
  TMP.toMap = (at) => ({ x: data.x + at.lng, y: data.y + at.lat });
  TMP.fromMap = ({ x, y }) => L.latLng(y - data.y, x - data.x);
  const whole = L.latLngBounds([0, 0], [-data.height, data.width]);

  const map = L.map("map", {
    crs, zoomSnap: 0.25, zoomDelta: 1, minZoom: -3, maxZoom: data.levels + 4, attributionControl: false,
    maxBounds: whole.pad(0.5), keyboard: true, zoomControl: true, fadeAnimation: false,
  });
  TMP.map = map;
  if (data.unit === "m") L.control.scale({ imperial: false }).addTo(map);
  map.createPane("above").style.zIndex = 250;

  /* Layers ------------------------------------------------------------------------------- */

  const Tiles = L.GridLayer.extend({
    createTile(coords, done) {
      const layer = this.options.layer;
      const level = layer.tiles[coords.z];
      const inside = level && coords.x >= 0 && coords.x < level.cols && coords.y >= 0;
      const kind = inside ? level.kinds[coords.y * level.cols + coords.x] : undefined;
      if (kind !== "1" && kind !== "2") {
        setTimeout(() => done(null, null), 0);
        return document.createElement("div");
      }
      const tile = document.createElement("img");
      tile.alt = "";
      tile.onload = () => done(null, tile);
      tile.onerror = () => done(new Error(`${layer.title}: a tile is missing`), tile);
      const suffix = kind === "1" ? "jpg" : "webp";
      tile.src = `${layer.folder}/${coords.z}/${coords.y}-${coords.x}.${suffix}`;
      return tile;
    },
  });

  function tilesOf(layer, pane) {
    return new Tiles({
      layer, pane, tileSize: 512, bounds: whole, noWrap: true, minZoom: -3, minNativeZoom: 0,
      maxNativeZoom: layer.level, maxZoom: data.levels + 4, keepBuffer: 2, updateWhenZooming: false,
    });
  }

  const state = { below: null, above: null, swipe: 50, opacity: 100, cameras: false };
  TMP.state = state;
  const layerOf = (id) => data.layers.find((layer) => layer.id === id);

  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }
  TMP.element = element;

  function showLegend(box, layer) {
    box.replaceChildren(element("p", layer.purpose));
    if (!layer.legend.length) return;
    if (layer.steps) {
      const list = element("ul");
      for (const [colour, text] of layer.legend) {
        const item = element("li");
        item.append(element("i", "", { style: `background:${colour}` }), element("span", text));
        list.append(item);
      }
      box.append(list);
      return;
    }
    const colours = layer.legend.map(([colour]) => colour);
    const ends = element("div", "", { class: "ends" });
    const last = layer.legend.length - 1;
    for (const n of [0, Math.ceil(last / 2), last]) {
      ends.append(element("span", layer.legend[n][1], { style: `left:${(100 * n) / last}%` }));
    }
    box.append(
      element("div", "", { class: "ramp", style: `background:linear-gradient(90deg,${colours.join(",")})` }),
      ends,
    );
  }

  let drawnBelow = null;
  function setBelow(id) {
    const layer = layerOf(id) || data.layers[0];
    if (state.below === layer.id) return;
    const before = drawnBelow;
    state.below = layer.id;
    drawnBelow = tilesOf(layer, "tilePane").addTo(map);
    // The former layer stays until the new one has its tiles, so that nothing flashes.
    if (before) drawnBelow.once("load", () => before.remove());
    showLegend(byId("legend"), layer);
    const radio = document.querySelector(`#below input[value="${layer.id}"]`);
    if (radio) radio.checked = true;
    remember();
  }

  let drawnAbove = null;
  function setAbove(id) {
    const layer = id ? layerOf(id) : null;
    if (drawnAbove) drawnAbove.remove();
    drawnAbove = null;
    state.above = layer ? layer.id : null;
    byId("above").value = state.above || "";
    byId("compare").hidden = divider.hidden = !layer;
    if (layer) {
      drawnAbove = tilesOf(layer, "above").addTo(map);
      showLegend(byId("legend-above"), layer);
      clip();
    }
    remember();
  }

  const divider = element("div", "", {
    id: "divider", role: "slider", tabindex: "0", "aria-orientation": "horizontal", "aria-valuemin": "0",
    "aria-valuemax": "100", "aria-label": "Swipe: left of it the map, right of it the layer compared with",
  });
  divider.hidden = true;
  map.getContainer().append(divider);
  L.DomEvent.disableClickPropagation(divider);

  function clip() {
    if (!drawnAbove) return;
    const size = map.getSize();
    const left = (size.x * state.swipe) / 100;
    const corner = map.containerPointToLayerPoint([0, 0]);
    const x0 = corner.x + left, x1 = corner.x + size.x, y0 = corner.y, y1 = corner.y + size.y;
    const pane = map.getPane("above");
    pane.style.clipPath = `polygon(${x0}px ${y0}px, ${x1}px ${y0}px, ${x1}px ${y1}px, ${x0}px ${y1}px)`;
    pane.style.opacity = state.opacity / 100;
    divider.style.left = `${left}px`;
    divider.setAttribute("aria-valuenow", Math.round(state.swipe));
    byId("swipe").value = state.swipe;
    byId("opacity").value = state.opacity;
  }
  map.on("move zoom viewreset resize", clip);

  function setSwipe(share) {
    state.swipe = Math.min(100, Math.max(0, share));
    clip();
    remember();
  }
  divider.addEventListener("pointerdown", (event) => {
    divider.setPointerCapture(event.pointerId);
    event.preventDefault();
    divider.focus();
  });
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = map.getContainer().getBoundingClientRect();
    setSwipe((100 * (event.clientX - box.left)) / box.width);
  });
  divider.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -2, ArrowRight: 2, Home: -100, End: 100 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    setSwipe(state.swipe + by);
  });

  function fillPanel() {
    const below = byId("below"), above = byId("above");
    above.append(element("option", "nothing", { value: "" }));
    let group = null, list = null;
    for (const layer of data.layers) {
      if (layer.group !== group) {
        group = layer.group;
        below.append(element("p", group, { class: "group" }));
        list = element("optgroup", "", { label: group });
        above.append(list);
      }
      const label = element("label");
      const radio = element("input", "", { type: "radio", name: "below", value: layer.id });
      radio.addEventListener("change", () => setBelow(layer.id));
      label.append(radio, layer.title);
      below.append(label);
      list.append(element("option", layer.title, { value: layer.id }));
    }
    above.addEventListener("change", () => setAbove(above.value));
    byId("swipe").addEventListener("input", (event) => setSwipe(Number(event.target.value)));
    byId("opacity").addEventListener("input", (event) => {
      state.opacity = Number(event.target.value);
      clip();
      remember();
    });
    byId("made").textContent = `${data.crs || "no place, no scale"}; written ${data.made} by ${data.software}`;
  }

  /* Photographs -------------------------------------------------------------------------- */

  const dots = L.layerGroup();
  const cameras = data.cameras.filter((camera) => camera.x !== null);

  function popupOf(camera) {
    const box = element("div");
    if (camera.picture) {
      box.append(element("img", "", { src: camera.picture, alt: `The photograph ${camera.name}, small`, width: 400, height: 300 }));
    }
    box.append(element("strong", camera.name));
    if (camera.time) box.append(element("div", camera.time.replace("T", " ").replace("Z", " UTC")));
    const sigma = camera.sigma === null ? "" : ` ± ${camera.sigma.toFixed(2)}`;
    if (camera.z !== null) box.append(element("div", `taken at ${camera.z.toFixed(2)}${sigma} ${data.unit}`));
    return box;
  }

  function fillCameras() {
    if (!cameras.length) return;
    byId("cameras-part").hidden = false;
    const choose = byId("photograph");
    const renderer = cameras.length > 500 ? L.canvas() : null; // as elements of the page they are slow
    const show = (camera) =>
      L.popup({ maxWidth: 300 }).setLatLng(TMP.fromMap(camera)).setContent(popupOf(camera)).openOn(map);
    choose.append(element("option", "none", { value: "" }));
    cameras.forEach((camera, number) => {
      choose.append(element("option", camera.name, { value: number }));
      camera.dot = L.circleMarker(TMP.fromMap(camera), {
        radius: 8, weight: 3, color: "#1d2429", fillColor: "#ffd92f", fillOpacity: 1, bubblingMouseEvents: false,
        ...(renderer ? { renderer } : {}),
      }).bindTooltip(camera.name);
      // While something is measured a dot is no more than the ground below it.
      camera.dot.on("click", (event) => (TMP.measures() ? TMP.addPoint(TMP.toMap(event.latlng)) : show(camera)));
      dots.addLayer(camera.dot);
    });
    choose.addEventListener("change", () => {
      if (choose.value === "") return map.closePopup();
      setCameras(true);
      show(cameras[Number(choose.value)]);
    });
    byId("cameras").addEventListener("change", (event) => setCameras(event.target.checked));
  }

  function setCameras(shown) {
    state.cameras = shown && cameras.length > 0;
    byId("cameras").checked = state.cameras;
    if (state.cameras) dots.addTo(map);
    else dots.remove();
    remember();
  }

  /* Where one is ------------------------------------------------------------------------- */

  function power(terms, u, v) {
    let sum = 0;
    data.lonlat.powers.forEach(([i, j], n) => { sum += terms[n] * u ** i * v ** j; });
    return sum;
  }
  TMP.onGrid = ({ x, y }) => (data.lonlat ? `E ${x.toFixed(2)}, N ${y.toFixed(2)}` : `x ${x.toFixed(2)}, y ${y.toFixed(2)}`);
  TMP.onEarth = ({ x, y }) => {
    if (!data.lonlat) return "";
    const u = (x - data.x) / data.width, v = (data.y - y) / data.height;
    const lat = power(data.lonlat.lat, u, v), lon = power(data.lonlat.lon, u, v);
    const north = `${Math.abs(lat).toFixed(7)}° ${lat < 0 ? "S" : "N"}`;
    return `${north} ${Math.abs(lon).toFixed(7)}° ${lon < 0 ? "W" : "E"}`;
  };
  TMP.inWords = (at) => [TMP.onGrid(at), TMP.onEarth(at)].filter(Boolean).join("; ");
  map.on("mousemove", (event) => { byId("where").textContent = TMP.inWords(TMP.toMap(event.latlng)); });

  /* The address -------------------------------------------------------------------------- */

  let waiting = 0;
  function remember() {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (!TMP.ready) return;
      const centre = TMP.toMap(map.getCenter());
      const said = { x: centre.x.toFixed(2), y: centre.y.toFixed(2), z: map.getZoom(), map: state.below };
      if (state.above) Object.assign(said, { with: state.above, swipe: Math.round(state.swipe), opacity: state.opacity });
      if (state.cameras) said.photographs = 1;
      Object.assign(said, TMP.measured ? TMP.measured() : {});
      written = `#${new URLSearchParams(said)}`;
      history.replaceState(null, "", written);
    }, 150);
  }
  TMP.remember = remember;
  let written = "";

  function recall() {
    const said = new URLSearchParams(location.hash.slice(1));
    const number = (name, other) => {
      const value = parseFloat(said.get(name));
      return Number.isFinite(value) ? value : other;
    };
    const x = number("x", null), y = number("y", null);
    if (x !== null && y !== null) map.setView(TMP.fromMap({ x, y }), number("z", 0), { animate: false });
    else map.fitBounds(whole, { animate: false });
    state.swipe = Math.min(100, Math.max(0, number("swipe", 50)));
    state.opacity = Math.min(100, Math.max(0, number("opacity", 100)));
    setBelow(said.get("map"));
    setAbove(layerOf(said.get("with")) ? said.get("with") : null);
    setCameras(said.get("photographs") === "1");
    if (TMP.recallMeasured) TMP.recallMeasured(said);
  }
  map.on("moveend", remember);
  window.addEventListener("hashchange", () => { if (location.hash !== written) recall(); });

  /* Panel, help, keys -------------------------------------------------------------------- */

  function showPanel(shown) {
    byId("panel").hidden = !shown;
    byId("show-panel").setAttribute("aria-expanded", shown);
    map.invalidateSize({ animate: false });
    clip();
  }
  byId("show-panel").addEventListener("click", () => showPanel(byId("panel").hidden));
  byId("show-help").addEventListener("click", () => byId("help").showModal());

  const keys = {
    "?": () => byId("help").showModal(),
    0: () => map.fitBounds(whole),
    p: () => setCameras(!state.cameras),
    "[": () => setSwipe(state.swipe - 2),
    "]": () => setSwipe(state.swipe + 2),
  };
  TMP.keys = keys;
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("select, dialog") || event.target.type === "text";
    if (event.ctrlKey || event.altKey || event.metaKey || typing || document.querySelector("dialog[open]")) return;
    const digit = /^Digit([1-9])$/.exec(event.code);
    const layer = digit && data.layers[digit[1] - 1];
    if (layer && event.shiftKey) setAbove(state.above === layer.id ? null : layer.id);
    else if (layer) setBelow(layer.id);
    else if (keys[event.key]) keys[event.key](event);
  });

  TMP.start = () => {
    fillPanel();
    fillCameras();
    if (matchMedia("(max-width: 700px)").matches) showPanel(false);
    recall();
    TMP.ready = true;
    remember();
  };
})();
