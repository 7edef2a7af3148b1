// The page's half of tmp.explore.model_widget.ModelView; three.js is `THREE`.
// The model's axes are x east, y up, z south, in metres about the origin that the file tells.

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value; else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Fetch the file piece by piece through the kernel; one buffer. */
async function fetchModel(model, length, tell) {
  const whole = new Uint8Array(length);
  let got = 0;
  while (got < length) {
    const piece = await new Promise((resolve, reject) => {
      const receive = (answer, buffers) => {
        if (answer.id !== got) return;
        model.off('msg:custom', receive);
        if (answer.error) reject(new Error(answer.error)); else resolve(buffers[0]);
      };
      model.on('msg:custom', receive);
      model.send({ id: got, offset: got });
    });
    if (!piece || !piece.byteLength) throw new Error('the file has become shorter');
    whole.set(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength), got);
    got += piece.byteLength;
    tell(got / length);
  }
  return whole.buffer;
}

function render({ model, el }) {
  const about = model.get('_about');
  const root = make('div', { className: 'tmp-map', 'data-lm-suppress-shortcuts': 'true' }); // keys are ours, not the notebook's
  const bar = make('div', { className: 'tmp-bar', role: 'toolbar', 'aria-label': '3D model' });
  const bar2 = make('div', { className: 'tmp-bar', role: 'toolbar', 'aria-label': 'Section' });
  const frame = make('div', { className: 'tmp-view', tabIndex: 0, 'aria-label': '3D model: drag to turn, right-drag or arrow keys to move, wheel to zoom' });
  const said = make('div', { className: 'tmp-said', role: 'status', textContent: 'loading …' });
  frame.style.height = `${model.get('height_px')}px`;
  root.append(bar, bar2, frame, said);
  el.append(root);

  let renderer;
  try {
    renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
  } catch (error) {
    said.textContent = 'This browser shows no 3D (WebGL is off). Open products/model.glb in another viewer, such as Blender or MeshLab.';
    return undefined;
  }
  renderer.setPixelRatio(Math.min(2, window.devicePixelRatio || 1));
  renderer.setClearColor(0xeef1f2);
  renderer.localClippingEnabled = true;
  frame.append(renderer.domElement);
  const scene = new THREE.Scene();
  const camera = new THREE.PerspectiveCamera(40, 1, 0.1, 10000);
  const controls = new THREE.OrbitControls(camera, renderer.domElement);
  controls.listenToKeyEvents(frame);
  controls.maxPolarAngle = Math.PI * 0.55;
  const sun = new THREE.DirectionalLight(0xffffff, 2.4);
  const sky = new THREE.AmbientLight(0xffffff, 0.7);
  scene.add(sun, sun.target, sky);
  const outline = new THREE.LineSegments(new THREE.BufferGeometry(), new THREE.LineBasicMaterial({ color: 0xb3261e, depthTest: false }));
  outline.renderOrder = 2;
  scene.add(outline);

  let body = null, box = null, middle = new THREE.Vector3(), reach = 10, wanted = false, ended = false;
  const draw = () => { if (!wanted && !ended) { wanted = true; requestAnimationFrame(() => { wanted = false; if (!ended) renderer.render(scene, camera); }); } };
  controls.addEventListener('change', draw);

  // --- what the sliders say
  const save = (name, value) => { model.set(name, value); model.save_changes(); };
  const range = (holder, label, min, max, step, get, set, unit) => {
    const input = make('input', { type: 'range', min, max, step, 'aria-label': label });
    const shown = make('span');
    const update = () => { input.value = get(); shown.textContent = `${Math.round(get() * 10) / 10}${unit}`; };
    input.addEventListener('input', () => { set(Number(input.value)); update(); });
    holder.append(make('label', {}, label, input, shown));
    update();
    return { input, update };
  };
  const box_ = (holder, label, get, set) => {
    const input = make('input', { type: 'checkbox', checked: get() });
    input.addEventListener('change', () => set(input.checked));
    holder.append(make('label', {}, input, label));
    return { input, update: () => { input.checked = get(); } };
  };
  const button = (holder, text, act) => { const one = make('button', { type: 'button', textContent: text }); one.addEventListener('click', act); holder.append(one); };
  const setLight = (n) => (value) => { const now = [...model.get('light')]; now[n] = value; save('light', now); };
  const section = (name) => (value) => save('section', { ...model.get('section'), [name]: value });
  const parts = [
    box_(bar, 'photographs', () => model.get('photographs'), (on) => save('photographs', on)),
    box_(bar, 'ground not measured', () => model.get('continued'), (on) => save('continued', on)),
    range(bar, 'light from', 0, 360, 5, () => model.get('light')[0], setLight(0), '°'),
    range(bar, 'its height', 2, 88, 1, () => model.get('light')[1], setLight(1), '°'),
    range(bar, 'relief ×', 1, 5, 0.5, () => model.get('exaggeration'), (value) => save('exaggeration', value), ''),
    box_(bar2, 'cut', () => model.get('section').on, section('on')),
    range(bar2, 'looking towards', 0, 355, 5, () => model.get('section').azimuth, section('azimuth'), '°'),
  ];
  const depth = range(bar2, 'plane at', -100, 100, 0.1, () => model.get('section').at, section('at'), ` ${about.unit}`);
  const thickness = range(bar2, 'slice (0: all behind)', 0, 20, 0.1, () => model.get('section').thickness, section('thickness'), ` ${about.unit}`);
  parts.push(depth, thickness);
  for (const [name, from] of [['From above', [0, 1, 0.001]], ['From the south', [0, 0.45, 1]], ['From the east', [1, 0.45, 0]], ['From the north', [0, 0.45, -1]], ['From the west', [-1, 0.45, 0]]]) {
    button(bar, name, () => look(from));
  }
  button(bar2, 'Look at the cut', () => {
    const azimuth = (model.get('section').azimuth * Math.PI) / 180;
    look([-Math.sin(azimuth), 0.12, Math.cos(azimuth)], 0.6);
  });

  const look = (from, share = 1) => {
    const distance = share * reach / Math.tan((camera.fov * Math.PI) / 360) / Math.min(1, camera.aspect) * 1.05;
    controls.target.copy(middle);
    camera.position.copy(new THREE.Vector3(...from).normalize().multiplyScalar(distance).add(middle));
    camera.near = distance / 1000;
    camera.far = distance * 10;
    camera.updateProjectionMatrix();
    controls.update();
    draw();
  };

  const update = () => {
    for (const part of parts) part.update();
    if (!body) return;
    const [azimuth, elevation] = model.get('light').map((degrees) => (degrees * Math.PI) / 180);
    sun.target.position.copy(middle);
    sun.position.set(Math.sin(azimuth) * Math.cos(elevation), Math.sin(elevation), -Math.cos(azimuth) * Math.cos(elevation)).multiplyScalar(reach * 4).add(middle);
    body.scale.y = model.get('exaggeration');
    const cut = model.get('section');
    const planes = [];
    if (cut.on) {
      const to = (cut.azimuth * Math.PI) / 180;
      const ahead = new THREE.Vector3(Math.sin(to), 0, -Math.cos(to));
      const at = middle.dot(ahead) + cut.at;
      planes.push(new THREE.Plane(ahead, -at));
      if (cut.thickness > 0) planes.push(new THREE.Plane(ahead.clone().negate(), at + cut.thickness));
    }
    body.traverse((one) => {
      if (!one.isMesh) return;
      const material = one.material;
      const photographs = model.get('photographs');
      if (material.map !== (photographs ? material.userData.picture : null)) { material.map = photographs ? material.userData.picture : null; material.needsUpdate = true; }
      material.color.set(photographs ? material.userData.tint : 0xcfc9bd);
      material.clippingPlanes = planes;
      one.visible = model.get('continued') || !material.name.startsWith('continued');
    });
    outline.visible = cut.on;
    if (cut.on) drawOutline(planes[0]);
    draw();
  };

  // The edge where the plane cuts the triangles.
  let outlined = '';
  const drawOutline = (plane) => {
    const key = JSON.stringify([plane.normal, plane.constant, body.scale.y, model.get('continued')]);
    if (key === outlined) return;
    outlined = key;
    const points = [];
    const [a, b, c] = [new THREE.Vector3(), new THREE.Vector3(), new THREE.Vector3()];
    const between = (from, to, u, v) => { const share = u / (u - v); points.push(from.x + (to.x - from.x) * share, from.y + (to.y - from.y) * share, from.z + (to.z - from.z) * share); };
    body.updateMatrixWorld(true);
    body.traverse((one) => {
      if (!one.isMesh || !one.visible) return;
      const place = one.geometry.attributes.position, index = one.geometry.index;
      const corner = (n, into) => into.fromBufferAttribute(place, index ? index.getX(n) : n).applyMatrix4(one.matrixWorld);
      const count = index ? index.count : place.count;
      for (let n = 0; n < count; n += 3) {
        corner(n, a); corner(n + 1, b); corner(n + 2, c);
        const [u, v, w] = [plane.distanceToPoint(a), plane.distanceToPoint(b), plane.distanceToPoint(c)];
        if (u > 0 === v > 0 && v > 0 === w > 0) continue;
        if (u > 0 !== v > 0) between(a, b, u, v);
        if (v > 0 !== w > 0) between(b, c, v, w);
        if (w > 0 !== u > 0) between(c, a, w, u);
      }
    });
    outline.geometry.dispose();
    outline.geometry = new THREE.BufferGeometry();
    outline.geometry.setAttribute('position', new THREE.Float32BufferAttribute(points, 3));
  };

  // --- a click tells the place
  const caster = new THREE.Raycaster();
  let down = null;
  renderer.domElement.addEventListener('pointerdown', (event) => { down = [event.clientX, event.clientY]; });
  renderer.domElement.addEventListener('pointerup', (event) => {
    if (!body || !down || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 4) return;
    const area = renderer.domElement.getBoundingClientRect();
    caster.setFromCamera(new THREE.Vector2(((event.clientX - area.left) / area.width) * 2 - 1, 1 - ((event.clientY - area.top) / area.height) * 2), camera);
    const hit = caster.intersectObject(body, true).find((one) => one.object.visible && one.object.material.clippingPlanes.every((plane) => plane.distanceToPoint(one.point) >= 0));
    if (!hit) return;
    const [east, north, up] = about.origin;
    const place = { x: east + hit.point.x, y: north - hit.point.z, height: up + hit.point.y / body.scale.y };
    said.textContent = `${about.crs ? 'E' : 'x'} ${place.x.toFixed(2)}   ${about.crs ? 'N' : 'y'} ${place.y.toFixed(2)}   height ${place.height.toFixed(2)} ${about.unit}${about.crs ? `   (${about.crs})` : ''}`;
    save('picked', place);
  });

  const onSize = new ResizeObserver(() => {
    const { clientWidth, clientHeight } = frame;
    if (!clientWidth) return;
    renderer.setSize(clientWidth, clientHeight, false);
    Object.assign(renderer.domElement.style, { width: '100%', height: '100%', display: 'block' });
    camera.aspect = clientWidth / clientHeight;
    camera.updateProjectionMatrix();
    draw();
  });
  onSize.observe(frame);

  const names = ['light', 'photographs', 'continued', 'exaggeration', 'section'];
  for (const name of names) model.on(`change:${name}`, update);

  fetchModel(model, about.bytes, (share) => { said.textContent = `loading … ${Math.round(100 * share)} %`; })
    .then((file) => new THREE.GLTFLoader().parseAsync(file, ''))
    .then((loaded) => {
      if (ended) return;
      body = loaded.scene;
      body.traverse((one) => {
        if (!one.isMesh) return;
        const old = one.material;
        one.material = new THREE.MeshLambertMaterial({ map: old.map, color: old.color, side: THREE.DoubleSide, name: old.name });
        one.material.userData = { picture: old.map, tint: old.color.clone() };
        if (old.map) old.map.anisotropy = renderer.capabilities.getMaxAnisotropy();
        old.dispose();
      });
      box = new THREE.Box3().setFromObject(body);
      box.getCenter(middle);
      const size = box.getSize(new THREE.Vector3());
      reach = 0.38 * Math.hypot(size.x, size.y, size.z);
      const far = Math.ceil(Math.hypot(size.x, size.z) / 2);
      Object.assign(depth.input, { min: -far, max: far });
      scene.add(body);
      said.textContent = 'Drag to turn, right-drag to move, wheel to zoom; a click tells the place.';
      update();
      look([-0.5, 0.7, 1]);
    })
    .catch((error) => { said.textContent = `The model cannot be shown: ${error.message}`; });

  return () => {
    ended = true;
    onSize.disconnect();
    for (const name of names) model.off(`change:${name}`, update);
    controls.dispose();
    renderer.dispose();
  };
}

export default { render };
