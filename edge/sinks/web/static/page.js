// Keeps the page at what the run tells. Whatever comes from there is put in as text, never as markup.

import { COLOURS, plot } from "/plot.js";

const SILENT_MS = 4000;  // the run tells its state every second
const STILL_S = 5;  // an older picture is not shown
const AGAIN_MS = 2000;
const POINTS = 600;

const by = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

let areas = { zones: [], ignored: [], on_share: 0 };
let points = [];
let state = null;
let news = -1;
let configs = -1;
let toldAt = 0;
let lost = true;
let stream = null;
let showing = "";
let tries = 0;

// What the run tells.

function listen() {
  stream?.close();
  stream = new EventSource("/state");
  stream.onmessage = async (message) => {
    const again = lost;
    state = JSON.parse(message.data);
    toldAt = performance.now();
    lost = false;
    if (again) await catchUp();
    else if (state.point && (!points.length || state.point[0] > points[points.length - 1][0])) points.push(state.point);
    points = points.slice(-POINTS);
    if (state.news !== news) listEvents(state.news);
    if (state.configs !== configs) learnAreas(state.configs);
    show();
  };
  stream.onerror = () => {
    lose();
    // A browser tries again by itself after a broken connection, but not after a refusal.
    if (stream?.readyState === EventSource.CLOSED) setTimeout(() => document.hidden || listen(), AGAIN_MS);
  };
}

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function catchUp() {
  news = configs = -1;
  try {
    points = await ask("/api/history");
  } catch {
    lose();
  }
}

async function learnAreas(of) {
  configs = of;
  try {
    areas = await ask("/api/areas");
    drawAreas();
    show();
  } catch {
    configs = -1;
  }
}

async function listEvents(of) {
  news = of;
  try {
    by("events").replaceChildren(...(await ask("/api/events")).map(fire));
    by("none").hidden = by("events").childElementCount > 0;
  } catch {
    news = -1;
  }
}

function lose() {
  if (lost && by("banner").className === "lost") return;
  lost = true;
  show();
}

// What is shown.

function show() {
  const silent = lost || !state;
  const still = !silent && state.picture_s !== null && state.picture_s > STILL_S;
  const blind = silent || still || state.picture_s === null;
  const burning = silent ? [] : Object.keys(state.zones).filter((name) => state.zones[name].alarm);
  const whole = (name) => (name === areas.whole_frame && !areas.zones.length ? "" : name);
  const where = burning.map(whole).filter(Boolean).join(", ");

  let text = "No fire", kind = "calm";
  if (silent) [text, kind] = ["Connection lost", "lost"];
  else if (burning.length) [text, kind] = [where ? `FIRE: ${where}` : "FIRE", "fire"];
  else if (still) [text, kind] = [`No picture for ${duration(state.picture_s)}`, "lost"];
  else if (blind) [text, kind] = ["Waiting for a picture", "waiting"];
  if (by("banner").textContent !== text) by("banner").textContent = text;
  by("banner").className = kind;
  document.title = kind === "calm" ? "FireSeg Edge" : `${text} – FireSeg Edge`;

  cover(silent ? "Connection lost. What burns now is not known here."
    : still ? `No picture for ${duration(state.picture_s)}: the source is ${state.source_state}.`
    : blind ? "Waiting for a picture …" : "");
  if (silent) return;
  figures();
  zones(whole);
  plot(by("plot"), points, Object.keys(state.zones), areas.on_share);
}

function cover(text) {
  by("cover").hidden = !text;
  by("cover").textContent = text;
  const wanted = lost || document.hidden ? "" : `/live.mjpeg?overlay=${by("mark").checked ? 1 : 0}`;
  if (wanted !== showing) watch(wanted);
}

function watch(path) {
  showing = path;
  // Without its source, the browser ends the connection; the number lets it begin a new one.
  if (path) by("live").src = `${path}&try=${++tries}`;
  else by("live").removeAttribute("src");
}

function figures() {
  const put = (id, text) => { by(id).textContent = text; };
  put("source", state.source ?? "");
  put("state", state.source_state + (state.openings > 1 ? `, opened ${state.openings} times` : ""));
  put("picture", state.picture_s === null ? "–" : `${state.picture_s.toFixed(1)} s ago`);
  put("age", state.age_ms === null ? "–" : `${state.age_ms.toFixed(0)} ms`);
  put("inference", state.inference_ms === null ? "–" : `${state.inference_ms.toFixed(1)} ms`);
  put("rate", `${state.fps.toFixed(1)} a second, ${state.results} so far, ${state.dropped} frames dropped`);
  const machine = [];
  if (state.temperature_c !== null) machine.push(`${state.temperature_c.toFixed(0)} °C`);
  if (state.throttled) machine.push(state.throttled.length ? state.throttled.join(", ") : "not throttled");
  if (state.load !== null) machine.push(`load ${state.load.toFixed(1)}`);
  put("machine", machine.join(", ") || "tells nothing");
  put("running", duration(state.running_s));
  put("model", state.model_sha256.slice(0, 12));
  by("model").title = state.model_sha256;
}

function zones(whole) {
  const rows = Object.entries(state.zones).map(([name, { share, alarm }], number) => {
    const row = document.createElement("tr"), mark = document.createElement("i");
    mark.className = `b${number % COLOURS}`;
    row.className = alarm ? "fire" : "";
    const cells = [whole(name) || "the whole frame", percent(share), alarm ? "FIRE" : "no fire"].map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    });
    cells[0].prepend(mark);
    row.append(...cells);
    return row;
  });
  by("zones").tBodies[0].replaceChildren(...rows);
  // A zone that is watched no longer, since the configuration was read anew, is drawn no longer.
  for (const drawn of by("areas").querySelectorAll("[data-zone]")) {
    drawn.toggleAttribute("hidden", !(drawn.dataset.zone in state.zones));
  }
}

function drawAreas() {
  const polygon = (corners, kind) => {
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    drawn.setAttribute("points", corners.map((corner) => corner.join(",")).join(" "));
    drawn.setAttribute("class", kind);
    return drawn;
  };
  by("areas").replaceChildren(
    ...areas.ignored.map((corners) => polygon(corners, "ignored")),
    ...areas.zones.map(({ name, polygon: corners }, number) => {
      const drawn = polygon(corners, `s${number % COLOURS}`);
      drawn.dataset.zone = name;
      return drawn;
    }),
  );
}

function fire({ id, zone, time, burns, duration_s, peak_share, pictures }) {
  const item = document.createElement("li"), said = document.createElement("p"), more = document.createElement("p");
  item.className = burns ? "fire" : "";
  const kind = ["peak", "start", "end"].find((each) => pictures.includes(each));
  if (kind) {
    const link = document.createElement("a"), image = document.createElement("img");
    link.href = image.src = `/events/${encodeURIComponent(id)}/${kind}.jpg`;
    image.alt = `The fire in ${zone}`;
    link.append(image);
    item.append(link);
  }
  const where = zone === areas.whole_frame && !areas.zones.length ? "Fire" : `Fire: ${zone}`;
  said.textContent = `${where}, ${new Date(time).toLocaleString()}`;
  more.className = "note";
  more.textContent = `${burns ? "burns still" : `burnt for ${duration(duration_s)}`}; at most ${percent(peak_share)}`;
  item.append(said, more);
  return item;
}

function duration(seconds) {
  const s = Math.floor(seconds), parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => s >= size);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).map(([size, name], number) => {
    const count = Math.floor((number ? s % parts[first][0] : s) / size);
    return `${count} ${name}`;
  }).join(" ");
}

// What the viewer does.

by("mark").addEventListener("change", show);
by("outline").addEventListener("change", () => by("areas").toggleAttribute("hidden", !by("outline").checked));
by("live").addEventListener("error", () => {
  if (!showing) return;
  showing = "";
  setTimeout(show, AGAIN_MS);
});
window.addEventListener("resize", show);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
// A page that nobody sees takes no pictures; a browser has but six connections to one address.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream?.close();
    lost = true;
    watch("");
  } else {
    toldAt = performance.now();
    listen();
  }
});
setInterval(() => {
  if (performance.now() - toldAt > SILENT_MS && !document.hidden) lose();
}, 500);
listen();
