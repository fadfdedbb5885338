// The burning share of each zone over the last ten minutes, on a canvas.

const SPAN_S = 600, SHORTEST_S = 60;
const LEFT = 44, BOTTOM = 20, TOP = 8;
const SMALLEST = 0.02;  // so that noise does not look like a fire

export const COLOURS = 6;

/** points: [[seconds, {zone: share}], …]; names: the zones in their order; level: the share from which fire counts. */
export function plot(canvas, points, names, level) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const width = canvas.clientWidth, height = canvas.clientHeight, dense = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  const draw = canvas.getContext("2d");
  draw.scale(dense, dense);
  draw.font = "12px system-ui, sans-serif";

  const shares = points.flatMap(([, zones]) => Object.values(zones));
  const top = Math.min(1, Math.max(SMALLEST, level * 1.5, ...shares) * 1.1);
  const end = points.length ? points[points.length - 1][0] : 0;
  // A run that is young fills the width too.
  const span = Math.min(SPAN_S, Math.max(SHORTEST_S, points.length ? end - points[0][0] : 0));
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
  draw.setLineDash([4, 4]);
  draw.strokeStyle = colour("--soft");
  line(draw, [[LEFT, y(level)], [width, y(level)]]);
  draw.setLineDash([]);

  draw.lineWidth = 2;
  draw.lineJoin = "round";
  names.forEach((name, number) => {
    draw.strokeStyle = colour(`--zone-${number % COLOURS}`);
    // Where nothing was seen, there is a gap and no line.
    let piece = [];
    for (const [t, zones] of points) {
      if (name in zones) piece.push([x(t), y(zones[name])]);
      else { line(draw, piece); piece = []; }
    }
    line(draw, piece);
  });
}

const ago = (s) => (s < 120 ? `${s.toFixed(0)} s` : `${(s / 60).toFixed(s % 60 < 1 ? 0 : 1)} min`);

function line(draw, corners) {
  draw.beginPath();
  corners.forEach(([x, y], number) => (number ? draw.lineTo(x, y) : draw.moveTo(x, y)));
  draw.stroke();
}
