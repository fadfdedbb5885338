// The figures of the run: camera, host, model, deliveries and failures.

import { $, CLOCK, counted, duration, element, put, row } from "./dom.js";

export function show(state) {
  const number = (value, digits, unit) => (value === null ? "–" : `${value.toFixed(digits)} ${unit}`);
  put("source", state.source ?? "");
  const since = new Date(Date.now() - 1000 * state.camera_problem_for_s).toLocaleTimeString([], CLOCK);
  $("camera-problem").hidden = !state.camera_problem;
  put("camera-problem", state.camera_problem ? `Camera ${state.camera_problem} since ${since}` : "");
  put("camera", state.camera_state + (state.camera_connects > 1 ? `, connected ${state.camera_connects} times` : ""));
  put("frame-age", number(state.frame_age_s, 1, "s ago"));
  put("latency", number(state.age_ms, 0, "ms"));
  put("inference", number(state.inference_ms, 1, "ms"));
  put("light", state.infrared ? (state.paused ? "infrared: detection paused" : "infrared") : "colour");
  const fine = state.fine_view, rate = `${state.fps.toFixed(1)} per second`;
  put("fine-view", fine ? `whole frame at ${fine.zoom}x every ${fine.period_s.toFixed(1)} s` : "whole frame only");
  put("results", `${rate}, ${state.results} in total, ${state.dropped} frames dropped`);
  const host = [];
  if (state.temperature_c !== null) host.push(`${state.temperature_c.toFixed(0)} °C`);
  if (state.throttled) host.push(state.throttled.join(", ") || "not throttled");
  if (state.load !== null) host.push(`load ${state.load.toFixed(1)}`);
  put("host", host.join(", ") || "–");
  put("uptime", duration(state.running_s));
  put("model", `${state.model}, ${state.model_sha256.slice(0, 12)}`);
  $("model").title = `SHA-256 of the file ${state.model_sha256}, of the network ${state.flatbuffer_sha256 ?? "unknown"}`;
  put("version", state.version);
  put("status-note", `${state.camera_state}, ${rate}`);
  showDelivery(state.receivers);
  showFailures(state.failures, state.fallback, state.update?.problem);
}

// A line at the top of the page that leads to what is wrong now.
function warn(id, text) {
  $(id).hidden = !text;
  put(id, text);
}

// One column per receiver. What was lost, or is not delivered now, is marked.
function showDelivery(receivers) {
  $("delivery-section").hidden = !receivers.length;
  const down = receivers.filter(({ problem }) => problem).map(({ name, problem }) => `${name}: ${problem}`).join(", ");
  const lost = receivers.reduce((sum, { dropped, dead_letters }) => sum + dropped + dead_letters, 0);
  const waiting = receivers.reduce((sum, receiver) => sum + receiver.waiting, 0);
  const texts = [down, lost && `${counted(lost, "event")} lost`, waiting && `${waiting} waiting`].filter(Boolean);
  put("delivery-note", texts.join(", ") || "all delivered", down || lost ? "bad" : "note");
  warn("undelivered", down && `Not delivered to ${down}`);
  const line = (title, of, isMarked = () => false) => row(title, receivers.map(of), receivers.map(of).map(isMarked));
  const head = element("tr");
  head.append(element("td"), ...receivers.map(({ name }) => Object.assign(element("th", "", name), { scope: "col" })));
  $("delivery").replaceChildren(
    head,
    line("Problem", ({ problem }) => problem || "none", (problem) => problem !== "none"),
    line("Events made", ({ made }) => made),
    line("Delivered", ({ delivered }) => delivered),
    line("Waiting", (receiver) => receiver.waiting),
    line("Oldest waiting", ({ oldest_age_s }) => duration(oldest_age_s)),
    line("Retries", ({ retries }) => retries),
    line("Dropped", ({ dropped }) => dropped, Boolean),
    line("Dead letters", ({ dead_letters }) => dead_letters, Boolean),
  );
}

function showFailures(failures, fallback, update) {
  const missing = failures.missing_threads.join(", ");
  const counts = Object.entries({
    ...(fallback && { "Fallback in use": fallback }),
    ...(update && { "Model update": update }),
    "Rejected reloads": failures.reloads,
    "Thread restarts": failures.thread_restarts,
    "Missing threads": missing || 0,
    "Lost files": failures.lost_files,
    "Late writes": failures.late_writes,
    "Broken frames": failures.broken_frames,
  });
  const bad = counts.filter(([, count]) => count).map(([title, count]) => `${title.toLowerCase()}: ${count}`);
  put("failures-note", bad.join(", ") || "none", bad.length ? "bad" : "note");
  const degraded = [
    fallback && `Fallback in use: ${fallback}`,
    update && `Model update: ${update}`,
    missing && `Missing threads: ${missing}`,
  ];
  warn("degraded", degraded.filter(Boolean).join(". "));
  $("failures").replaceChildren(...counts.map(([title, count]) => row(title, [count], [count])));
}
