// Draws the fire area of each zone over the last ten minutes on a canvas.

const MAX_SPAN_S = 600, MIN_SPAN_S = 60;
const LEFT = 44, BOTTOM = 20, TOP = 8;
const MIN_TOP = 0.02;  // keeps noise low in the plot

export const COLOURS = 6;

/** points: [[seconds, {zone: area fraction}], …]; names: zones in order. */
export function plot(canvas, points, names) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const width = canvas.clientWidth, height = canvas.clientHeight, ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const draw = canvas.getContext("2d");
  draw.scale(ratio, ratio);
  draw.font = "12px system-ui, sans-serif";

  const shares = points.flatMap(([, zones]) => Object.values(zones));
  const top = Math.min(1, Math.max(MIN_TOP, ...shares) * 1.1);
  const end = points.length ? points[points.length - 1][0] : 0;
  // A young run fills the width too.
  const span = Math.min(MAX_SPAN_S, Math.max(MIN_SPAN_S, points.length ? end - points[0][0] : 0));
  const x = (t) => LEFT + (width - LEFT - 4) * (1 - (end - t) / span);
  const y = (share) => TOP + (height - TOP - BOTTOM) * (1 - share / top);

  draw.strokeStyle = colour("--line");
  draw.fillStyle = colour("--soft");
  draw.textAlign = "right";
  for (const part of [0, 0.5, 1]) {
    line(draw, [[LEFT, y(top * part)], [width, y(top * part)]]);
    draw.fillText(`${(100 * top * part).toFixed(top < 0.1 ? 1 : 0)} %`, LEFT - 6, y(top * part) + 4);
  }
  draw.textAlign = "center";
  for (const part of [0.8, 0.6, 0.4, 0.2]) draw.fillText(`−${ago(span * part)}`, x(end - span * part), height - 4);

  draw.lineWidth = 2;
  draw.lineJoin = "round";
  names.forEach((name, index) => {
    draw.strokeStyle = colour(`--zone-${index % COLOURS}`);
    // No result leaves a gap.
    let segment = [];
    for (const [t, zones] of points) {
      if (name in zones) segment.push([x(t), y(zones[name])]);
      else { line(draw, segment); segment = []; }
    }
    line(draw, segment);
  });
}

const ago = (s) => (s < 120 ? `${s.toFixed(0)} s` : `${(s / 60).toFixed(s % 60 < 1 ? 0 : 1)} min`);

function line(draw, corners) {
  draw.beginPath();
  corners.forEach(([x, y], index) => (index ? draw.lineTo(x, y) : draw.moveTo(x, y)));
  draw.stroke();
}
