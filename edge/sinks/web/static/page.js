// Shows the run's state as it arrives. Text from the run is inserted as text, never as markup.

import * as arming from "./arming.js";
import { $, canStream, counted, duration, element, getJson, percent, polygon, put, refusal, row } from "./dom.js";
import * as drill from "./drill.js";
import { areasChanged } from "./editor.js";
import { showArchive, showEvents } from "./events.js";
import { COLOURS, plot } from "./plot.js";
import * as quiet from "./quiet.js";
import * as status from "./status.js";

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
let connectedAt = 0;
let lost = true;
let reason = "";  // why the run refuses the page
let stream = null;
let liveUrl = "";
let nextLive = 0;

// Receiving.

function connect(isDoubted = false) {
  stream?.close();
  connectedAt = performance.now();
  stream = new EventSource("state");
  stream.onmessage = async (message) => {
    if (isDoubted) {  // perhaps the last state of a hung run: the next message shows that it is running
      isDoubted = false;
      return;
    }
    const reconnected = lost;
    state = JSON.parse(message.data);
    receivedAt = performance.now();
    lost = false;
    reason = "";
    if (reconnected) {
      revisions = {};
      quiet.forgetRevision();
      const history = await getJson("api/history");
      if (!history) return disconnect();
      points = history;
    } else if (state.point && state.point[0] > (points.at(-1)?.[0] ?? -1)) {
      points = [...points, state.point].slice(-MAX_POINTS);
    }
    show();
    await refresh("config_revision", "api/areas", showAreas);
    await refresh("events_revision", "api/events", (events) => showEvents(events, zoneName, state.has_archive));
    await showArchive();
    if ($("span").value && performance.now() - trendAt > TREND_MS) await loadTrend();
    await quiet.show(state, zoneName);
  };
  stream.onerror = () => {
    disconnect();
    // Browsers reconnect after a broken connection, but not after a refusal.
    if (stream?.readyState === EventSource.CLOSED) retry();
  };
}

async function retry() {
  const refused = await refusal("state");
  reason = refused ? `The run refuses: ${refused.reason}` : "";
  if (refused?.status === 401) reason = "The password has changed. Reload the page.";  // each try would ask for it
  else setTimeout(() => document.hidden || connect(), RETRY_MS);
  show();
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
  if (silent) [text, kind, cover] = ["Connection lost", "lost", `Connection lost. The current state is unknown. ${reason}`.trim()];
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
  put("banner", text, kind);
  document.title = kind === "calm" ? "FireSeg Edge" : `${text} – FireSeg Edge`;
  $("cover").hidden = !cover;
  put("cover", cover);
  showLive(lost || document.hidden ? "" : `${canStream ? "live.mjpeg" : "snapshot.jpg"}?overlay=${$("overlay").checked ? 1 : 0}`);
  if (silent) return;
  if (state.camera_state) status.show(state);  // the first status may come after the first frame
  showZones();
  arming.show(state);
  drill.show(state, zoneName);
  showPlot();
}

function showPlot() {
  if (!$("plot-section").open) return;
  const span = $("span").value, names = Object.keys(state?.zones ?? {});
  $("tracks-note").hidden = !span;
  plot($("plot"), span ? trend.points : points, names, span ? trend.step_s : 0);
}

async function loadTrend() {
  trendAt = performance.now();
  const span = $("span").value, loaded = span && await getJson(`api/trend?span=${span}`);
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

function showZones() {
  const zones = Object.entries(state.zones);
  $("zones").tBodies[0].replaceChildren(...zones.map(([name, { share, alarm, silence }], index) => {
    const line = row(zoneName(name) || "Whole frame", [percent(share), alarm ? `FIRE${silence ? ` (${silence})` : ""}` : "no alarm"]);
    line.className = alarm ? "fire" : "";
    line.firstChild.prepend(element("i", `z${index % COLOURS}`));
    return line;
  }));
  const largest = Math.max(0, ...zones.map(([, { share }]) => share));
  put("zones-note", `${areas.zones.length ? counted(zones.length, "zone") : "whole frame"}, fire area ${percent(largest)}`);
  // Hide polygons of zones that a reloaded configuration removed.
  for (const drawn of $("areas").querySelectorAll("[data-zone]")) {
    drawn.toggleAttribute("hidden", !(drawn.dataset.zone in state.zones));
  }
}

function showAreas(newAreas) {
  areas = newAreas;
  areasChanged(areas.revision);
  $("areas").replaceChildren(
    ...areas.ignored.map((corners) => polygon(corners, "ignored")),
    ...areas.zones.map(({ name, polygon: corners }, index) => {
      const drawn = polygon(corners, `z${index % COLOURS}`);
      drawn.dataset.zone = name;
      return drawn;
    }),
  );
  show();
}

// The viewer's actions.

$("overlay").addEventListener("change", show);
$("show-areas").addEventListener("change", () => {
  for (const id of ["areas", "quiet-areas"]) $(id).toggleAttribute("hidden", !$("show-areas").checked);
});
$("plot-section").addEventListener("toggle", showPlot);
// A wide window has room for them.
for (const id of ["zones-section", "plot-section"]) $(id).open = matchMedia("(min-width: 800px)").matches;
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
  const oldest = performance.now() - SILENT_MS;
  if (receivedAt > oldest || document.hidden) return;
  disconnect();
  // A connection ends without a word if the Pi loses its power or its network.
  if (stream.readyState === EventSource.OPEN && connectedAt < oldest) connect(true);
}, 500);
connect();
