// The page's half of tmp.explore.map_widget.SurveyMap; Leaflet is `L`.
// A map's coordinates are those of the survey's CRS: Leaflet's latitude is the northing.

const MOST_ASKED = 8; // tiles under way at once; others wait, and are dropped if they go out of sight
const RED = '#b3261e';
const KINDS = { Point: 'Point', LineString: 'Line', Polygon: 'Area' };

/** Questions to the kernel: each has an id that its answer bears. */
function asker(model) {
  let next = 1, underWay = 0;
  const open = new Map(), waiting = [];
  const pump = () => {
    while (underWay < MOST_ASKED && waiting.length) {
      const question = waiting.shift();
      if (question.dropped) { question.resolve(null); continue; }
      underWay += 1;
      open.set(next, question);
      model.send({ ...question.content, id: next });
      next += 1;
    }
  };
  const receive = (answer, buffers) => {
    const question = open.get(answer.id);
    if (!question) return;
    open.delete(answer.id);
    underWay -= 1;
    question.resolve({ ...answer, buffers });
    pump();
  };
  model.on('msg:custom', receive);
  return {
    ask(content, first = false) {
      const question = { content, dropped: false };
      question.answer = new Promise((resolve) => { question.resolve = resolve; });
      if (first) waiting.unshift(question); else waiting.push(question);
      pump();
      return question;
    },
    end() { model.off('msg:custom', receive); },
  };
}

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value; else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A layer of tiles that the kernel draws. */
function tileLayer(asks, grid, layer, pane) {
  const bounds = L.latLngBounds([grid.bounds[1], grid.bounds[0]], [grid.bounds[3], grid.bounds[2]]);
  const tiles = new L.GridLayer({ tileSize: grid.tile, minZoom: -2, maxZoom: grid.levels + grid.deeper,
    minNativeZoom: 0, maxNativeZoom: grid.levels, bounds, pane, keepBuffer: 1 });
  const asked = new Map();
  tiles.createTile = (at, done) => {
    const image = make('img', { alt: '', draggable: false });
    const question = asks.ask({ kind: 'tile', key: layer.key, level: at.z, col: at.x, row: at.y });
    asked.set(image, question);
    question.answer.then((answer) => {
      asked.delete(image);
      if (!answer) return;
      if (answer.error) { done(new Error(answer.error), image); return; }
      const file = answer.buffers[0];
      if (!file || !file.byteLength) { image.style.display = 'none'; done(null, image); return; }
      const address = URL.createObjectURL(new Blob([file], { type: answer.type }));
      image.onload = () => { URL.revokeObjectURL(address); done(null, image); };
      image.src = address;
    });
    return image;
  };
  tiles.on('tileunload', (event) => {
    const question = asked.get(event.tile);
    if (question) question.dropped = true;
  });
  return tiles;
}

/** The list of layers of one view: on or off, opacity, what colours mean. */
function layerPanel(model, number, isOpen) {
  const list = make('ul');
  const panel = make('details', { className: 'tmp-layers', open: isOpen }, make('summary', { textContent: 'Layers' }), list);
  for (const event of ['click', 'dblclick', 'wheel', 'pointerdown', 'mousedown']) panel.addEventListener(event, (e) => e.stopPropagation());
  const build = () => {
    list.replaceChildren();
    for (const layer of [...model.get('_layers')].reverse()) {
      const shown = model.get('views')[number].includes(layer.key);
      const box = make('input', { type: 'checkbox', checked: shown });
      const item = make('li', { className: shown ? 'on' : '' }, make('label', {}, box, layer.title));
      box.addEventListener('change', () => {
        const views = model.get('views').map((keys) => [...keys]);
        const order = model.get('_layers').map((one) => one.key);
        const keys = views[number].filter((key) => key !== layer.key);
        if (box.checked) keys.push(layer.key);
        views[number] = keys.sort((a, b) => order.indexOf(a) - order.indexOf(b));
        model.set('views', views);
        model.save_changes();
      });
      const range = make('input', { type: 'range', min: 0, max: 1, step: 0.05, 'aria-label': `Opacity of ${layer.title}`, title: 'Opacity' });
      range.value = model.get('opacity')[layer.key] ?? 1;
      range.addEventListener('input', () => {
        model.set('opacity', { ...model.get('opacity'), [layer.key]: Number(range.value) });
        model.save_changes();
      });
      item.append(make('div', { className: 'tmp-more' }, range, legend(layer)));
      list.append(item);
    }
  };
  build();
  return { panel, build };
}

function legend(layer) {
  const all = make('div', { className: 'tmp-legend' });
  const steps = layer.legend;
  if (!steps.length) return all;
  if (layer.ramp) {
    const bar = make('div', { className: 'ramp' });
    bar.style.background = `linear-gradient(to right, ${steps.map((step) => step.colour).join(',')})`;
    const middle = steps[Math.floor((steps.length - 1) / 2)];
    const ends = steps.length % 2 ? [steps[0], middle, steps.at(-1)] : [steps[0], steps.at(-1)];
    all.append(bar, make('div', { className: 'ends' }, ...ends.map((step) => make('span', { textContent: step.label }))));
  } else {
    for (const step of steps) {
      const swatch = make('i');
      swatch.style.background = step.colour;
      all.append(make('div', { className: 'step' }, swatch, step.label));
    }
  }
  return all;
}

/** One view: a Leaflet map with the layers that are on. */
function makeView(model, asks, number, crs, grid, single) {
  const holder = make('div');
  const frame = make('div', { className: 'tmp-view' }, holder);
  holder.style.height = '100%';
  const map = L.map(holder, { crs, attributionControl: false, zoomControl: true, maxZoom: grid.levels + grid.deeper,
    minZoom: -2, zoomSnap: 0.25, zoomDelta: 1, wheelPxPerZoomLevel: 90, doubleClickZoom: false, zoomAnimation: true, fadeAnimation: false });
  if (grid.unit === 'm') L.control.scale({ imperial: false, maxWidth: 140 }).addTo(map);
  const shown = new Map();
  const { panel, build } = layerPanel(model, number, single);
  const divider = make('button', { className: 'tmp-divider', type: 'button', title: 'Move to compare', 'aria-label': 'Dividing line of the uppermost layer; move it with the arrow keys' });
  let share = 0.5;
  frame.append(divider, panel);

  const arrange = () => {
    const keys = model.get('views')[number];
    const layers = new Map(model.get('_layers').map((layer) => [layer.key, layer]));
    for (const [key, one] of shown) {
      if (!keys.includes(key) || layers.get(key)?.version !== one.version) { map.removeLayer(one.tiles); shown.delete(key); }
    }
    keys.forEach((key, order) => {
      const layer = layers.get(key);
      if (!layer) return;
      if (!shown.has(key)) {
        const pane = `tmp-${key}`;
        if (!map.getPane(pane)) map.createPane(pane);
        shown.set(key, { tiles: tileLayer(asks, grid, layer, pane).addTo(map), version: layer.version });
      }
      map.getPane(`tmp-${key}`).style.zIndex = 210 + order;
      map.getPane(`tmp-${key}`).style.opacity = model.get('opacity')[key] ?? 1;
    });
    cut();
  };
  const cut = () => {
    const keys = model.get('views')[number];
    const swiping = model.get('swipe') && keys.length > 1;
    divider.style.display = swiping ? 'block' : 'none';
    divider.style.left = `${100 * share}%`;
    keys.forEach((key, order) => {
      const pane = map.getPane(`tmp-${key}`);
      if (!pane) return;
      if (!swiping || order < keys.length - 1) { pane.style.clip = ''; return; }
      const size = map.getSize();
      const north_west = map.containerPointToLayerPoint([0, 0]);
      const south_east = map.containerPointToLayerPoint([size.x * share, size.y]);
      // `clip` and not `clip-path`: it is measured from the pane's own zero, which has no size.
      pane.style.clip = `rect(${north_west.y}px, ${south_east.x}px, ${south_east.y}px, ${north_west.x}px)`;
    });
  };
  map.on('move zoom viewreset resize', cut);
  const slide = (to) => { share = Math.min(0.98, Math.max(0.02, to)); cut(); };
  divider.addEventListener('pointerdown', (event) => {
    event.preventDefault();
    divider.focus();
    divider.setPointerCapture(event.pointerId);
    divider.onpointermove = (move) => { const box = frame.getBoundingClientRect(); slide((move.clientX - box.left) / box.width); };
    divider.onpointerup = () => { divider.onpointermove = null; };
  });
  divider.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowLeft') slide(share - 0.02);
    else if (event.key === 'ArrowRight') slide(share + 0.02);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  // A small picture of all of it, until the kernel has time for tiles.
  const still = () => {
    const picture = model.get('_stills')[number];
    if (!picture || !picture.file || !picture.file.byteLength) return;
    const [west, south, east, north] = picture.bounds;
    const address = URL.createObjectURL(new Blob([picture.file], { type: picture.type }));
    map.createPane('tmp-still').style.zIndex = 201;
    const overlay = L.imageOverlay(address, [[south, west], [north, east]], { pane: 'tmp-still', alt: '' }).addTo(map);
    const away = () => { overlay.remove(); URL.revokeObjectURL(address); };
    const first = [...shown.values()].at(-1);
    if (first) first.tiles.once('load', away); else away();
  };
  const refresh = () => {
    const lit = new Set(model.get('_layers').filter((layer) => layer.lit).map((layer) => layer.key));
    for (const [key, one] of shown) if (lit.has(key)) one.tiles.redraw();
  };
  return { frame, map, arrange, cut, build, refresh, panel, still };
}

function render({ model, el }) {
  const grid = model.get('_grid');
  const asks = asker(model);
  const crs = L.extend({}, L.CRS.Simple, { transformation: new L.Transformation(1 / grid.cell, -grid.x / grid.cell, -1 / grid.cell, grid.y / grid.cell) });
  const whole = L.latLngBounds([grid.bounds[1], grid.bounds[0]], [grid.bounds[3], grid.bounds[2]]);
  const root = make('div', { className: 'tmp-map', 'data-lm-suppress-shortcuts': 'true' }); // keys are ours, not the notebook's
  const bar = make('div', { className: 'tmp-bar', role: 'toolbar', 'aria-label': 'Map' });
  const area = make('div', { className: 'tmp-views' });
  const said = make('div', { className: 'tmp-said', role: 'status' });
  const where = make('span', { textContent: 'Move over the map for coordinates and heights.' });
  const values = make('span');
  said.append(where, values);
  const drawnList = make('ul', { className: 'tmp-drawn' });
  root.append(bar, area, said, drawnList);
  el.append(root);

  const number = model.get('views').length;
  const columns = number === 4 ? 2 : number;
  area.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  const views = model.get('views').map((_, n) => makeView(model, asks, n, crs, grid, number === 1));
  for (const view of views) {
    view.frame.style.height = `${number === 4 ? model.get('height_px') / 2 : model.get('height_px')}px`;
    area.append(view.frame);
  }

  // --- bar: whole map, swipe, light, drawing
  const button = (text, title, act) => { const one = make('button', { type: 'button', textContent: text, title }); one.addEventListener('click', act); bar.append(one); return one; };
  const fit = () => { for (const { map } of views.slice(0, 1)) map.fitBounds(whole, { animate: false }); };
  button('Whole map', 'Show all of the survey', fit);
  const swipe = button('Swipe', 'Cut the uppermost layer at a line, to compare it with the one below', () => { model.set('swipe', !model.get('swipe')); model.save_changes(); });
  const tools = Object.entries(KINDS).map(([kind, name]) => [kind, button(name, `Draw and measure: ${name.toLowerCase()}`, () => start(drawing && drawing.kind === kind ? null : kind))]);
  const light = make('span', { style: 'display:inline-flex;gap:10px;flex-wrap:wrap' });
  const slider = (label, n, min, max, step) => {
    const range = make('input', { type: 'range', min, max, step, 'aria-label': `Light: ${label}` });
    range.value = model.get('light')[n];
    const shown = make('span', { textContent: '' });
    const tell = () => { shown.textContent = n === 2 ? `× ${Number(range.value)}` : `${Number(range.value)}°`; };
    tell();
    range.addEventListener('input', tell);
    range.addEventListener('change', () => { const now = [...model.get('light')]; now[n] = Number(range.value); model.set('light', now); model.save_changes(); });
    light.append(make('label', {}, label, range, shown));
    return () => { range.value = model.get('light')[n]; tell(); };
  };
  const sliders = [slider('Light from', 0, 0, 360, 15), slider('its height', 1, 5, 85, 5), slider('relief', 2, 0.5, 5, 0.5)];
  bar.append(light);

  // --- views move together
  let leading = false;
  const marks = views.map(({ map }) => L.circleMarker([0, 0], { radius: 5, color: RED, weight: 2, fill: false, interactive: false }));
  views.forEach(({ map, frame }, n) => {
    map.on('move', () => {
      if (leading) return;
      leading = true;
      for (const [m, other] of views.entries()) if (m !== n) other.map.setView(map.getCenter(), map.getZoom(), { animate: false });
      leading = false;
    });
    map.on('mousemove', (event) => point(event.latlng, n));
    map.on('mouseout', () => marks.forEach((mark) => mark.remove()));
    map.on('click', (event) => { if (drawing) addCorner(event.latlng); else ask(event.latlng, n); });
    map.on('dblclick', (event) => { if (drawing) finish(); else map.setZoomAround(event.latlng, map.getZoom() + 1); });
  });
  let asking = null, latest = null;
  const point = (at, n) => {
    where.textContent = `${grid.crs ? `E ${at.lng.toFixed(2)}  N ${at.lat.toFixed(2)}  (${grid.crs})` : `x ${at.lng.toFixed(2)}  y ${at.lat.toFixed(2)} units`}`;
    marks.forEach((mark, m) => { if (m !== n) { mark.setLatLng(at); mark.addTo(views[m].map); } });
    if (drawing) preview(at);
    latest = [at, n];
    if (!asking) asking = setTimeout(() => { asking = null; ask(...latest); }, 150);
  };
  const ask = (at, n) => {
    const keys = new Set(views.flatMap((_, m) => model.get('views')[m]));
    asks.ask({ kind: 'values', x: at.lng, y: at.lat, keys: [...keys] }, true).answer.then((answer) => {
      if (answer && answer.said) values.textContent = answer.said.join('   ·   ');
    });
  };

  // --- drawing
  let drawing = null;
  const start = (kind) => {
    clearDrawing();
    drawing = kind && { kind, corners: [], lines: views.map(({ map }) => L.polyline([], { color: RED, weight: 3, interactive: false }).addTo(map)) };
    for (const [name, one] of tools) one.setAttribute('aria-pressed', String(kind === name));
    for (const { map } of views) map.getContainer().classList.toggle('tmp-drawing', Boolean(kind));
    if (kind) values.textContent = kind === 'Point' ? 'Click a place.' : 'Click corner after corner; double click or Enter ends, Backspace takes one back, Escape leaves off.';
  };
  const clearDrawing = () => { if (drawing) drawing.lines.forEach((line) => line.remove()); drawing = null; };
  const addCorner = (at) => {
    const last = drawing.corners.at(-1);
    if (last && last.equals(at, 1e-9)) return;
    drawing.corners.push(at);
    if (drawing.kind === 'Point') finish(); else preview(at);
  };
  const preview = (at) => {
    const corners = [...drawing.corners, at];
    if (drawing.kind === 'Polygon' && drawing.corners.length > 1) corners.push(drawing.corners[0]);
    if (drawing.corners.length) for (const line of drawing.lines) line.setLatLngs(corners);
  };
  const finish = () => {
    if (!drawing) return;
    const places = drawing.corners.map((at) => [at.lng, at.lat]);
    const kind = drawing.kind;
    const least = { Point: 1, LineString: 2, Polygon: 3 }[kind];
    if (places.length < least) return;
    const coordinates = kind === 'Point' ? places[0] : kind === 'LineString' ? places : [[...places, places[0]]];
    const geometry = { type: kind, coordinates };
    start(null);
    asks.ask({ kind: 'measure', geometry }, true).answer.then((answer) => {
      const id = 1 + Math.max(0, ...model.get('drawn').map((one) => one.id));
      model.set('drawn', [...model.get('drawn'), { id, name: '', geometry, said: (answer && (answer.said || answer.error)) || '' }]);
      model.save_changes();
    });
  };
  const onKey = (event) => {
    if (!drawing || event.target.tagName === 'INPUT') return;
    if (event.key === 'Escape') start(null);
    else if (event.key === 'Enter' && event.target.tagName !== 'BUTTON') finish();
    else if (event.key === 'Backspace') drawing.corners.pop();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  root.addEventListener('keydown', onKey);

  let marked = [], former = '';
  const showDrawn = () => {
    // A name alone that changed leaves the list as it is, and the focus in it.
    const now = JSON.stringify(model.get('drawn').map((one) => [one.id, one.geometry, one.said]));
    if (now === former) {
      [...drawnList.querySelectorAll('input')].forEach((input, n) => { if (input !== document.activeElement) input.value = model.get('drawn')[n].name || ''; });
      return;
    }
    former = now;
    marked.forEach((one) => one.remove());
    marked = [];
    drawnList.replaceChildren();
    for (const one of model.get('drawn')) {
      const { type, coordinates } = one.geometry;
      const corners = type === 'Point' ? [coordinates] : type === 'LineString' ? coordinates : coordinates[0];
      const at = corners.map(([x, y]) => [y, x]);
      for (const { map } of views) {
        const style = { color: RED, weight: 3, fillOpacity: 0.08, interactive: false };
        const shape = type === 'Point' ? L.circleMarker(at[0], { ...style, radius: 5 }) : type === 'LineString' ? L.polyline(at, style) : L.polygon(at, style);
        const label = L.marker(at[0], { interactive: false, keyboard: false, icon: L.divIcon({ className: 'tmp-number', html: String(one.id), iconSize: [18, 18], iconAnchor: [9, 24] }) });
        marked.push(shape.addTo(map), label.addTo(map));
      }
      const change = (with_) => { model.set('drawn', model.get('drawn').map((other) => (other.id === one.id ? { ...other, ...with_ } : other))); model.save_changes(); };
      const name = make('input', { type: 'text', placeholder: 'name', 'aria-label': `Name of ${KINDS[type]} ${one.id}` });
      name.value = one.name || '';
      name.addEventListener('change', () => change({ name: name.value }));
      const away = make('button', { type: 'button', textContent: 'Remove', 'aria-label': `Remove ${KINDS[type]} ${one.id}` });
      away.addEventListener('click', () => { model.set('drawn', model.get('drawn').filter((other) => other.id !== one.id)); model.save_changes(); });
      drawnList.append(make('li', {}, make('b', { textContent: one.id }), `${KINDS[type]}: ${one.said}`, name, away));
    }
  };

  // --- the notebook's changes
  let placed = false;
  const onViews = () => { if (placed) for (const view of views) view.arrange(); syncPanels(); };
  const syncPanels = () => {
    const lit = model.get('_layers').filter((layer) => layer.lit).map((layer) => layer.key);
    light.style.display = model.get('views').some((keys) => keys.some((key) => lit.includes(key))) ? 'inline-flex' : 'none';
    for (const [n, view] of views.entries()) {
      const items = [...view.panel.querySelectorAll('li')];
      [...model.get('_layers')].reverse().forEach((layer, k) => {
        const on = model.get('views')[n].includes(layer.key);
        items[k]?.classList.toggle('on', on);
        const box = items[k]?.querySelector('input[type=checkbox]');
        if (box) box.checked = on;
      });
    }
  };
  const onLayers = () => { for (const view of views) view.build(); onViews(); };
  const onSwipe = () => { swipe.setAttribute('aria-pressed', String(model.get('swipe'))); for (const view of views) view.cut(); };
  const onLight = () => { for (const update of sliders) update(); for (const view of views) view.refresh(); };
  const onLook = () => {
    const [x, y, width] = model.get('look');
    if (width === undefined) { fit(); return; }
    views[0].map.fitBounds([[y, x - width / 2], [y, x + width / 2]], { animate: false });
  };
  const listeners = { 'change:views': onViews, 'change:opacity': onViews, 'change:_layers': onLayers,
    'change:swipe': onSwipe, 'change:light': onLight, 'change:drawn': showDrawn, 'change:look': onLook };
  for (const [event, act] of Object.entries(listeners)) model.on(event, act);

  // The notebook lays the cell out after this returns: a map knows its place only then.
  const watch = new ResizeObserver(() => {
    if (!area.clientWidth) return;
    for (const { map } of views) map.invalidateSize({ animate: false });
    if (placed) return;
    placed = true;
    if (area.clientWidth < 900) for (const { panel } of views) panel.open = false; // it would hide the map
    leading = true;
    for (const { map } of views) map.fitBounds(whole, { animate: false });
    leading = false;
    if (model.get('look').length) onLook();
    onViews();
    for (const view of views) view.still();
    onSwipe();
    showDrawn();
  });
  watch.observe(area);
  return () => {
    watch.disconnect();
    for (const [event, act] of Object.entries(listeners)) model.off(event, act);
    for (const { map } of views) map.remove();
    asks.end();
  };
}

export default { render };
