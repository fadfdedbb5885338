// Draws the fire area of each zone on a canvas, over ten minutes, a day or a week.

import { CLOCK } from "./dom.js";

const MAX_SPAN_S = 600, MIN_SPAN_S = 60;
const LEFT = 44, BOTTOM = 20, TOP = 8;
const MIN_TOP = 0.02;  // keeps noise low in the plot

export const COLOURS = 6;

/**
 * points: [[seconds, {zone: area fraction}, number of possible fires], …]; the number may be missing.
 * names: zones in order.
 * stepS: seconds from point to point of a day or a week, at Unix times; 0 for the last ten minutes.
 */
export function plot(canvas, points, names, stepS = 0) {
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
  const [least, most] = stepS ? [10 * stepS, Infinity] : [MIN_SPAN_S, MAX_SPAN_S];
  const span = Math.min(most, Math.max(least, points.length ? end - points[0][0] : 0));
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
  for (const part of [0.8, 0.6, 0.4, 0.2]) {
    draw.fillText(stepS ? clock(end - span * part, span) : `−${ago(span * part)}`, x(end - span * part), height - 4);
  }

  const mostTracks = Math.max(4, ...points.map((point) => point[2] ?? 0));
  draw.fillStyle = colour("--line");
  for (const [t, , tracks] of points) {
    const bar = ((tracks ?? 0) / mostTracks) * (height - TOP - BOTTOM) / 2;
    if (bar) draw.fillRect(x(t), height - BOTTOM - bar, Math.max(1, x(t + stepS) - x(t)), bar);
  }

  draw.lineWidth = 2;
  draw.lineJoin = "round";
  names.forEach((name, index) => {
    draw.strokeStyle = colour(`--zone-${index % COLOURS}`);
    // No result leaves a gap.
    let segment = [], last = -Infinity;
    for (const [t, zones] of points) {
      if (!(name in zones) || (stepS && t - last > 1.5 * stepS)) { line(draw, segment); segment = []; }
      if (name in zones) segment.push([x(t), y(zones[name])]);
      last = t;
    }
    line(draw, segment);
  });
}

function clock(unixS, span) {
  const time = new Date(1000 * unixS);
  return span > 2 * 86400 ? time.toLocaleDateString([], { weekday: "short", day: "numeric" }) : time.toLocaleTimeString([], CLOCK);
}

const ago = (s) => (s < 120 ? `${s.toFixed(0)} s` : `${(s / 60).toFixed(s % 60 < 1 ? 0 : 1)} min`);

function line(draw, corners) {
  if (corners.length === 1) corners = [corners[0], [corners[0][0] + 1, corners[0][1]]];  // a dot
  draw.beginPath();
  corners.forEach(([x, y], index) => (index ? draw.lineTo(x, y) : draw.moveTo(x, y)));
  draw.stroke();
}
