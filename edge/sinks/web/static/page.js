// Shows the run's state as it arrives. Text from the run is inserted as text, never as markup.

import * as arming from "./arming.js";
import { $, CLOCK, canStream, duration, element, getJson, percent, put } from "./dom.js";
import * as drill from "./drill.js";
import { areasChanged } from "./editor.js";
import { showArchive, showEvents } from "./events.js";
import { COLOURS, plot } from "./plot.js";
import * as quiet from "./quiet.js";

const SILENT_MS = 4000;  // the run sends its state every second
const RETRY_MS = 2000;
const MAX_POINTS = 600;
const SNAPSHOT_MS = 150;  // between single frames, where no stream can be shown
const TREND_MS = 60000;  // as often as it changes

let areas = { zones: [], ignored: [] };
let points = [];
let trend = { step_s: 0, points: [] };  // of a day or a week, where that is chosen
let trendAt = -Infinity;
let state = null;
let revisions = {};
let receivedAt = 0;
let lost = true;
let stream = null;
let liveUrl = "";
let nextLive = 0;

// Receiving.

function connect() {
  stream?.close();
  stream = new EventSource("state");
  stream.onmessage = async (message) => {
    const reconnected = lost;
    state = JSON.parse(message.data);
    receivedAt = performance.now();
    lost = false;
    if (reconnected) {
      revisions = {};
      quiet.forgetRevision();
      const history = await getJson("/api/history");
      if (!history) return disconnect();
      points = history;
    } else if (state.point && state.point[0] > (points.at(-1)?.[0] ?? -1)) {
      points = [...points, state.point].slice(-MAX_POINTS);
    }
    show();
    await refresh("config_revision", "/api/areas", showAreas);
    await refresh("events_revision", "/api/events", (events) => showEvents(events, zoneName, state.has_archive));
    await showArchive();
    if ($("span").value && performance.now() - trendAt > TREND_MS) await loadTrend();
    await quiet.show(state, zoneName);
  };
  stream.onerror = () => {
    disconnect();
    // Browsers reconnect after a broken connection, but not after a refusal.
    if (stream?.readyState === EventSource.CLOSED) setTimeout(() => document.hidden || connect(), RETRY_MS);
  };
}

async function refresh(revision, path, showNew) {
  if (revisions[revision] === state[revision]) return;
  revisions[revision] = state[revision];
  const value = await getJson(path);
  if (value) showNew(value);
  else revisions[revision] = null;  // retried with the next state
}

function disconnect() {
  if (lost && $("banner").className === "lost") return;
  lost = true;
  show();
}

// Showing.

// Without configured zones, the whole frame is the only one and needs no name.
const zoneName = (name) => {
  if (name !== areas.whole_frame || areas.zones.some((zone) => zone.name === name)) return name;
  return areas.zones.length ? "whole frame" : "";  // as in events from before the zones were drawn
};

function show() {
  const silent = lost || !state;
  const stale = !silent && state.frame_age_s > state.stale_after_s / 2;  // before the run calls it stale
  const waiting = !silent && state.frame_age_s === null;
  const alarms = silent ? [] : Object.keys(state.zones).filter((name) => state.zones[name].alarm);
  const silence = silent ? "" : arming.silenceText(state);  // known before the next frame, unlike that of the zones
  const sounding = silence ? [] : alarms.filter((name) => state.zones[name].silence !== "acknowledged");
  const zones = (sounding.length ? sounding : alarms).map(zoneName).filter(Boolean).join(", ");

  let text = "No alarm", kind = "calm", cover = "";
  if (silent) [text, kind, cover] = ["Connection lost", "lost", "Connection lost. The current state is unknown."];
  else if (stale) [text, kind] = [`No frame for ${duration(state.frame_age_s)}`, "lost"];
  else if (waiting) [text, kind, cover] = ["Waiting for a frame", "waiting", "Waiting for a frame …"];
  if (stale) cover = `${text}: the camera is ${state.camera_state}.`;
  else if (silence) [text, kind] = [`${silence[0].toUpperCase()}${silence.slice(1)}`, "silenced"];
  const problem = silent || stale || waiting ? "" : state.camera_problem ?? "";
  if (!silent && !stale && state.paused) [text, kind] = ["Detection paused: infrared", "lost"];
  if (problem) [text, kind] = [`The camera cannot see: ${problem}`, "lost"];
  if (!silent && state.drill?.running) [text, kind] = ["Fire drill", "drill"];
  if (alarms.length) {
    [text, kind] = [zones ? `FIRE: ${zones}` : "FIRE", "fire"];
    if (!sounding.length) text += ` – ${silence || "acknowledged"}`;
    if (problem) text += ` – picture not current, camera ${problem}`;
  }
  if ($("banner").textContent !== text) put("banner", text);
  $("banner").className = kind;
  document.title = kind === "calm" ? "FireSeg Edge" : `${text} – FireSeg Edge`;
  $("cover").hidden = !cover;
  put("cover", cover);
  showLive(lost || document.hidden ? "" : `${canStream ? "live.mjpeg" : "snapshot.jpg"}?overlay=${$("overlay").checked ? 1 : 0}`);
  if (silent) return;
  if (state.camera_state) showStatus();  // the first status may come after the first frame
  showZones();
  arming.show(state);
  drill.show(state, zoneName);
  showPlot();
}

function showPlot() {
  const span = $("span").value, names = Object.keys(state?.zones ?? {});
  $("tracks-note").hidden = !span;
  plot($("plot"), span ? trend.points : points, names, span ? trend.step_s : 0);
}

async function loadTrend() {
  trendAt = performance.now();
  const span = $("span").value, loaded = span && await getJson(`/api/trend?span=${span}`);
  if (span !== $("span").value) return;  // another one was chosen meanwhile
  trend = loaded || { step_s: 0, points: [] };
  showPlot();
}

function showLive(url) {
  if (url === liveUrl) return;
  liveUrl = url;
  // Removing src ends the connection.
  if (url) loadLive();
  else $("live").removeAttribute("src");
}

function loadLive() {
  clearTimeout(nextLive);
  if (liveUrl) $("live").src = `${liveUrl}&try=${Date.now()}`;  // the time makes the browser ask again
}

function showStatus() {
  const number = (value, digits, unit) => (value === null ? "–" : `${value.toFixed(digits)} ${unit}`);
  put("source", state.source ?? "");
  const since = new Date(Date.now() - 1000 * state.camera_problem_for_s);
  const time = since.toLocaleTimeString([], CLOCK);
  const problem = state.camera_problem ? `Camera ${state.camera_problem} since ${time}` : "";
  $("camera-problem").hidden = !problem;
  if ($("camera-problem").textContent !== problem) put("camera-problem", problem);
  put("camera", state.camera_state + (state.camera_connects > 1 ? `, connected ${state.camera_connects} times` : ""));
  put("frame-age", number(state.frame_age_s, 1, "s ago"));
  put("latency", number(state.age_ms, 0, "ms"));
  put("inference", number(state.inference_ms, 1, "ms"));
  put("light", state.infrared ? (state.paused ? "infrared: detection paused" : "infrared") : "colour");
  const fine = state.fine_view;
  put("fine-view", fine ? `whole frame at ${fine.zoom}x every ${fine.period_s.toFixed(1)} s` : "whole frame only");
  put("results", `${state.fps.toFixed(1)} per second, ${state.results} in total, ${state.dropped} frames dropped`);
  const host = [];
  if (state.temperature_c !== null) host.push(`${state.temperature_c.toFixed(0)} °C`);
  if (state.throttled) host.push(state.throttled.join(", ") || "not throttled");
  if (state.load !== null) host.push(`load ${state.load.toFixed(1)}`);
  put("host", host.join(", ") || "–");
  put("uptime", duration(state.running_s));
  put("model", `${state.model}, ${state.model_sha256.slice(0, 12)}`);
  $("model").title = `SHA-256 of the file ${state.model_sha256}, of the network ${state.flatbuffer_sha256 ?? "unknown"}`;
  put("version", state.version);
  showDelivery(state.receivers);
  showFailures(state.failures, state.fallback);
}

// One column per receiver. What was lost, or is not delivered now, is marked.
function showDelivery(receivers) {
  $("delivery-section").hidden = !receivers.length;
  const row = (title, values, marked) => {
    const line = element("tr"), head = element("th", "", title);
    head.scope = "row";
    line.append(head, ...values.map((value, index) => element("td", marked[index] ? "bad" : "", String(value))));
    return line;
  };
  const none = receivers.map(() => false);
  const count = (title, key, isBad) => {
    const values = receivers.map((receiver) => receiver[key]);
    return row(title, values, isBad ? values.map((value) => value > 0) : none);
  };
  const head = element("tr");
  head.append(element("td"), ...receivers.map(({ name }) => Object.assign(element("th", "", name), { scope: "col" })));
  $("delivery").replaceChildren(
    head,
    row("Problem", receivers.map(({ problem }) => problem || "none"), receivers.map(({ problem }) => problem)),
    count("Events made", "made"),
    count("Delivered", "delivered"),
    count("Waiting", "waiting"),
    row("Oldest waiting", receivers.map(({ oldest_age_s }) => duration(oldest_age_s)), none),
    count("Retries", "retries"),
    count("Dropped", "dropped", true),
    count("Dead letters", "dead_letters", true),
  );
}

function showFailures(failures, fallback) {
  const counts = {
    ...(fallback && { "Fallback in use": fallback }),
    "Rejected reloads": failures.reloads,
    "Thread restarts": failures.thread_restarts,
    "Missing threads": failures.missing_threads.join(", ") || 0,
    "Lost files": failures.lost_files,
    "Late writes": failures.late_writes,
    "Broken frames": failures.broken_frames,
  };
  $("failures").replaceChildren(...Object.entries(counts).map(([title, count]) => {
    const line = element("div");
    line.append(element("dt", "", title), element("dd", count ? "bad" : "", String(count)));
    return line;
  }));
}

function showZones() {
  const rows = Object.entries(state.zones).map(([name, { share, alarm, silence }], index) => {
    const row = element("tr", alarm ? "fire" : "");
    const texts = [zoneName(name) || "Whole frame", percent(share), alarm ? `FIRE${silence ? ` (${silence})` : ""}` : "no alarm"];
    row.append(...texts.map((text) => element("td", "", text)));
    row.firstChild.prepend(element("i", `z${index % COLOURS}`));
    return row;
  });
  $("zones").tBodies[0].replaceChildren(...rows);
  // Hide polygons of zones that a reloaded configuration removed.
  for (const drawn of $("areas").querySelectorAll("[data-zone]")) {
    drawn.toggleAttribute("hidden", !(drawn.dataset.zone in state.zones));
  }
}

function showAreas(newAreas) {
  areas = newAreas;
  areasChanged(areas.revision);
  const polygon = (corners, kind, zone) => {
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    drawn.setAttribute("points", corners.map((corner) => corner.join(",")).join(" "));
    drawn.setAttribute("class", kind);
    if (zone !== undefined) drawn.dataset.zone = zone;
    return drawn;
  };
  $("areas").replaceChildren(
    ...areas.ignored.map((corners) => polygon(corners, "ignored")),
    ...areas.zones.map(({ name, polygon: corners }, index) => polygon(corners, `z${index % COLOURS}`, name)),
  );
  show();
}

// The viewer's actions.

$("overlay").addEventListener("change", show);
$("show-areas").addEventListener("change", () => $("areas").toggleAttribute("hidden", !$("show-areas").checked));
$("span").addEventListener("change", loadTrend);
if (!canStream) $("live").addEventListener("load", () => { nextLive = setTimeout(loadLive, SNAPSHOT_MS); });
$("live").addEventListener("error", () => {
  if (!liveUrl) return;
  liveUrl = "";
  setTimeout(show, RETRY_MS);
});
window.addEventListener("resize", show);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
// A hidden page streams nothing: browsers open only six connections per host.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream?.close();
    lost = true;
    showLive("");
  } else {
    receivedAt = performance.now();
    connect();
  }
});
setInterval(() => {
  if (performance.now() - receivedAt > SILENT_MS && !document.hidden) disconnect();
}, 500);
connect();
