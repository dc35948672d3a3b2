"use strict";
// Clouds on a canvas. Plotly's own 3D charts need a WebGL context each, of which browsers keep about a dozen, and a page has
// more clouds than that.

const TURN = { yaw: -0.6, pitch: 0.35, zoom: 1 };

/** base64 -> typed array. */
function decode(text, Type) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Type(bytes.buffer);
}

/** "#rrggbb" towards another by a share of 0..1. */
function blend(from, to, share) {
  const parts = [1, 3, 5].map((at) => {
    const one = parseInt(from.slice(at, at + 2), 16);
    return Math.round(one + share * (parseInt(to.slice(at, at + 2), 16) - one));
  });
  return `rgb(${parts.join(",")})`;
}

/** A canvas with clouds that turn together; views of one group share how they are turned. */
class CloudView {
  /** @param group an object shared by views that turn as one, or nothing */
  constructor(canvas, group) {
    this.canvas = canvas;
    this.group = group || { ...TURN, views: [] };
    this.group.views.push(this);
    this.layers = [];
    const redraw = () => this.group.views.forEach((view) => view.draw());
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.last = [event.clientX, event.clientY];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.last) return;
      this.turn((event.clientX - this.last[0]) / 120, (event.clientY - this.last[1]) / 120);
      this.last = [event.clientX, event.clientY];
      redraw();
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { this.last = null; });
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] };
      if (steps[event.key]) this.turn(...steps[event.key]);
      else if (event.key === "+" || event.key === "=") this.group.zoom = Math.min(4, this.group.zoom * 1.2);
      else if (event.key === "-") this.group.zoom = Math.max(0.5, this.group.zoom / 1.2);
      else if (event.key === "Home") Object.assign(this.group, TURN);
      else return;
      event.preventDefault();
      redraw();
    });
    CloudView.all.push(this);
    CloudView.seen.observe(canvas);
  }

  turn(yaw, pitch) {
    this.group.yaw += yaw;
    this.group.pitch = Math.max(-1.57, Math.min(1.57, this.group.pitch + pitch));
  }

  /** Layers: {points: Int8Array (3n), color: name of a colour, levels: Uint8Array (n) or nothing}. */
  show(layers) {
    this.layers = layers;
    this.draw();
  }

  draw() {
    const canvas = this.canvas;
    const side = Math.round(canvas.clientWidth * Math.min(2, window.devicePixelRatio || 1));
    if (!side) return;
    if (canvas.width !== side) { canvas.width = side; canvas.height = side; }
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, side, side);
    const paper = palette("panel");
    const { yaw, pitch, zoom } = this.group;
    const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    const scale = (side * 0.44 * zoom) / 120;
    const buckets = Array.from({ length: 24 }, () => []);
    for (const layer of this.layers) {
      const p = layer.points;
      for (let i = 0; i < p.length; i += 3) {
        const x = cy * p[i] + sy * p[i + 2];
        const z = cy * p[i + 2] - sy * p[i];
        const y = cp * p[i + 1] - sp * z;
        const depth = sp * p[i + 1] + cp * z;  // towards the eye
        const bucket = Math.max(0, Math.min(23, Math.floor((depth + 125) / 250 * 24)));
        const level = layer.levels ? Math.round(layer.levels[i / 3] / 17) : 15;
        buckets[bucket].push(side / 2 + x * scale, side / 2 - y * scale, layer, level);
      }
    }
    const total = Math.max(...this.group.views.map((view) => view.layers.reduce((sum, layer) => sum + layer.points.length / 3, 0)));
    const radius = Math.max(1, side * zoom * (total > 1200 ? 0.0062 : total > 600 ? 0.009 : 0.012));
    const colors = new Map();
    buckets.forEach((bucket, number) => {
      const near = number / 23;
      for (let i = 0; i < bucket.length; i += 4) {
        const layer = bucket[i + 2];
        const level = bucket[i + 3];
        const name = `${layer.color} ${level} ${number}`;
        let color = colors.get(name);
        if (!color) {
          const strength = layer.levels ? 0.12 + 0.88 * (level / 15) : 0.45 + 0.55 * near;
          colors.set(name, color = blend(paper, palette(layer.color), strength));
        }
        pen.fillStyle = color;
        pen.beginPath();
        pen.arc(bucket[i], bucket[i + 1], radius * (0.8 + 0.4 * near), 0, 6.2832);
        pen.fill();
      }
    });
  }
}
CloudView.all = [];
// Drawn when they come into sight and when their size changes: a page may hold a hundred.
CloudView.seen = new ResizeObserver((entries) => {
  for (const entry of entries) CloudView.all.filter((view) => view.canvas === entry.target).forEach((view) => view.draw());
});
