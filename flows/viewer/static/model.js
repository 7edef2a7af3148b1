/* The 3D model: loaded when it is first asked for, from scripts beside the page. */
"use strict";

(() => {
  const { data, element } = TMP;
  const byId = (id) => document.getElementById(id);
  const dialog = byId("model"), canvas = byId("canvas"), told = byId("loading");
  const parts = [];
  let view = null;

  TMP.takeModel = (number, text) => { parts[number] = text; };

  const run = (address) => new Promise((resolve, reject) => {
    const script = element("script", "", { src: address });
    script.onload = () => { script.remove(); resolve(); };
    script.onerror = () => reject(new Error(`${address} cannot be read`));
    document.head.append(script);
  });

  async function bytes() {
    const found = [];
    for (let n = 0; n < data.model.parts; n++) {
      told.textContent = `loading ${Math.round((100 * n) / data.model.parts)} % of ${data.model.megabytes} MB`;
      await run(`model/${n}.js`);
      const text = atob(parts[n]);
      parts[n] = null;
      const part = new Uint8Array(text.length);
      for (let k = 0; k < part.length; k++) part[k] = text.charCodeAt(k);
      found.push(part);
    }
    return new Blob(found).arrayBuffer();
  }

  async function build() {
    await run("three.min.js");
    let renderer;
    try {
      renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
    } catch {
      throw new Error("this browser shows no 3D graphics here; open products/model.glb with another program");
    }
    const glb = await bytes();
    told.textContent = "unpacking";
    const { scene: model } = await new Promise((resolve, reject) => new THREE.GLTFLoader().parse(glb, "", resolve, reject));
    const scene = new THREE.Scene();
    scene.background = new THREE.Color("#e9ecee");
    scene.add(model);
    const sun = new THREE.DirectionalLight("#ffffff", 2.2);
    scene.add(sun, sun.target, new THREE.AmbientLight("#ffffff", 1.0));
    const box = new THREE.Box3().setFromObject(model);
    const middle = box.getCenter(new THREE.Vector3()), size = box.getSize(new THREE.Vector3()).length();
    const camera = new THREE.PerspectiveCamera(40, 1, size / 1000, size * 10);
    const away = size * Math.max(1, 0.9 / (canvas.clientWidth / canvas.clientHeight));
    camera.position.set(middle.x, middle.y + away * 0.65, middle.z + away * 0.75); // from the south
    const controls = new THREE.OrbitControls(camera, canvas);
    controls.target.copy(middle);
    controls.maxPolarAngle = Math.PI * 0.55;
    controls.listenToKeyEvents(canvas);
    controls.keyPanSpeed = 30;
    const grey = new THREE.MeshLambertMaterial({ color: "#d8d2c8" });
    const meshes = [];
    model.traverse((one) => { if (one.isMesh) meshes.push({ mesh: one, own: one.material }); });

    let due = false;
    function draw() {
      due = false;
      const wide = canvas.clientWidth, tall = canvas.clientHeight;
      if (!wide || !tall) return;
      renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
      renderer.setSize(wide, tall, false);
      camera.aspect = wide / tall;
      camera.updateProjectionMatrix();
      renderer.render(scene, camera);
    }
    const ask = () => { if (!due) { due = true; requestAnimationFrame(draw); } };
    controls.addEventListener("change", ask);
    window.addEventListener("resize", () => { fit(); ask(); });

    function light() {
      const lit = byId("lit").checked, azimuth = (Number(byId("light").value) * Math.PI) / 180;
      byId("light").disabled = !lit;
      for (const { mesh, own } of meshes) mesh.material = lit ? grey : own;
      // North is away from who looks from the south: -z; east is x.
      sun.position.set(middle.x + size * Math.sin(azimuth), middle.y + 0.6 * size, middle.z - size * Math.cos(azimuth));
      sun.target.position.copy(middle);
      const times = Number(byId("tall").value);
      model.scale.y = times;
      model.position.y = middle.y * (1 - times);
      ask();
    }
    for (const id of ["lit", "light", "tall"]) byId(id).addEventListener("input", light);
    light();
    controls.update();
    return { ask };
  }

  function fit() {
    canvas.style.height = `${dialog.clientHeight - dialog.querySelector(".bar").offsetHeight}px`;
  }

  async function show() {
    dialog.showModal();
    fit();
    try {
      view ??= build();
      (await view).ask();
      told.textContent = "";
      dialog.dataset.shown = "yes";
    } catch (error) {
      view = null;
      told.textContent = error.message;
    }
  }

  if (data.model) {
    byId("show-model").hidden = false;
    byId("show-model").addEventListener("click", show);
  }
  byId("close-model").addEventListener("click", () => dialog.close());
  TMP.start();
})();
