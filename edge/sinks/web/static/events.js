// Fires and camera problems: those of this run, and those on disk by day, with picture, clip, verdict and download.

import { $, act, button, canStream, counted, duration, element, getJson, percent, put, refusal } from "./dom.js";

const POLL_MS = 10000;  // files follow their event: the clip is written when it ends
const SETTLE_MS = 500;  // an event and its picture are two changes
const FEW = 6;  // what lies below the events stays near
const PICTURES = ["peak", "still", "start", "end", "problem", "recovered"];
const VERDICTS = { "fire": "Fire", "not a fire": "Not a fire" };

let recent = [];          // fires of this run, from memory
let archived = [];        // events of the chosen day, from disk
let hasArchive = false;
let name = (zone) => zone;
let dueAt = -Infinity;
let isLoading = false;
let showsAll = false;
const shown = new Map();  // by id: the item, and what it shows
const problems = new Map();  // by id: of its last button; the item is made again when a verdict is on disk

export function showEvents(events, zoneName, onDisk) {
  [recent, name, hasArchive] = [events, zoneName, onDisk];
  dueAt = Math.min(dueAt, performance.now() + SETTLE_MS);
  if (!hasArchive) render();
}

// Called with each state.
export async function showArchive() {
  if (!hasArchive || isLoading || performance.now() < dueAt) return;
  isLoading = true;
  dueAt = performance.now() + POLL_MS;
  await load();
  isLoading = false;
}

async function load() {
  const days = await getJson("api/archive");
  if (!days) return render();
  const isNewest = $("day").selectedIndex <= 0, chosen = $("day").value;
  const options = days.map(({ day, fires, camera_problems }) => {
    const counts = [fires && counted(fires, "fire"), camera_problems && counted(camera_problems, "camera problem")];
    return new Option(`${day}: ${counts.filter(Boolean).join(", ")}`, day);
  });
  const texts = (list) => [...list].map(({ text }) => text).join("\n");
  if (texts(options) !== texts($("day").options)) $("day").replaceChildren(...options);  // would close an open list
  if (!isNewest) $("day").value = chosen;
  if ($("day").selectedIndex < 0 || isNewest) $("day").selectedIndex = 0;
  $("day-label").hidden = !days.length;
  const events = days.length ? await getJson(`api/archive?day=${encodeURIComponent($("day").value)}`) : [];
  if (events) archived = events;
  render();
}

function render() {
  const isNewest = $("day").selectedIndex <= 0;
  const known = new Map(recent.map((fire) => [fire.id, fire]));
  const all = archived.map((event) => ({ ...event, ...live(known.get(event.id)), onDisk: true }));
  const ids = new Set(archived.map(({ id }) => id));
  if (isNewest) all.unshift(...recent.filter(({ id }) => !ids.has(id)).map((fire) => ({ ...fire, type: "fire" })));
  const events = showsAll ? all : all.slice(0, FEW);
  $("all-events").hidden = events.length === all.length;
  put("all-events", `Show all ${all.length} events`);
  // An item that has not changed stays, with its clip playing.
  const items = events.map((event) => {
    const text = JSON.stringify([event, name(event.zone)]), old = shown.get(event.id);
    const item = old && (old.text === text || old.item.querySelector(".clip")) ? old.item : eventItem(event);
    shown.set(event.id, { item, text });
    return item;
  });
  const current = [...$("events").children];
  if (items.length !== current.length || items.some((item, index) => item !== current[index])) {
    $("events").replaceChildren(...items);
  }
  for (const id of shown.keys()) if (!events.some((event) => event.id === id)) shown.delete(id);
  put("no-events", hasArchive ? "None." : "None since the run started.");
  $("no-events").hidden = events.length > 0;
}

// What memory knows better than the disk.
const live = (fire) => fire && { active: fire.active, duration_s: fire.duration_s, peak_share: fire.peak_share, zone: fire.zone };

function eventItem(event) {
  const { id, type, zone, problem, time, active, duration_s, peak_share, pictures, onDisk, drill, silence } = event;
  const item = element("li", active ? "fire" : ""), url = `${onDisk ? "archive" : "events"}/${encodeURIComponent(id)}`;
  const isCamera = type === "camera", where = isCamera ? problem : name(zone);
  const title = (isCamera ? "Camera" : drill ? "Fire drill" : "Fire") + (where ? `: ${where}` : "");
  const kind = PICTURES.find((each) => pictures.includes(each));
  if (kind) {
    const href = `${url}/${kind}.jpg`, src = onDisk ? `${href}?thumbnail=1` : href;
    const link = Object.assign(element("a"), { href });
    link.append(image({ src, loading: "lazy", width: 320, height: 240, alt: title }, () => link.replaceWith(missing())));
    item.append(link);
  }
  const course = [active ? "ongoing" : duration_s === null ? "" : `lasted ${duration(duration_s)}`];
  if (peak_share) course.push(`peak fire area ${percent(peak_share)}`);
  if (silence) course.push(silence);
  item.append(
    element("p", "", `${title}, ${new Date(time).toLocaleString()}`),
    element("p", "note", course.filter(Boolean).join(", ")),
  );
  if (onDisk) item.append(buttons(event, item, url, title));
  return item;
}

const missing = () => element("p", "note", "The picture cannot be loaded.");

function image(values, onerror) {
  const made = element("img");
  made.addEventListener("error", onerror);
  return Object.assign(made, values);
}

function buttons({ id, type, clip, verdict }, item, url, title) {
  const row = element("div", "toggles"), problem = element("p", "bad");
  problem.setAttribute("role", "alert");
  Object.assign(problem, { id: `problem-${id}`, textContent: problems.get(id) ?? "" });
  const say = (text) => {
    problems.set(id, text);
    if ($(problem.id)) put(problem.id, text);  // another day may be shown meanwhile
  };
  const choices = type === "fire" ? Object.entries(VERDICTS).map(([value, text]) => {
    const choice = button(text, async () => {
      const isPressed = choice.getAttribute("aria-pressed") === "true";
      const answer = await act("verdict", { id, verdict: isPressed ? "" : value });
      say(answer.error ?? answer.problem ?? "");
      if (!answer.error) choices.forEach((each) => each.setAttribute("aria-pressed", each === choice && !isPressed));
    });
    choice.setAttribute("aria-pressed", verdict === value);
    return choice;
  }) : [];
  const download = Object.assign(element("a", "", "Download"), { href: `${url}.zip`, download: "" });
  download.addEventListener("click", async () => say((await refusal(`${url}.zip`))?.reason ?? ""));
  row.append(...(clip ? [button("Play clip", () => play(item, url, title, say))] : []), ...choices, download, problem);
  return row;
}

// A browser that cannot play the file gets its frames from the server.
function play(item, url, title, say) {
  const video = Object.assign(element("video", "clip"), { controls: true, autoplay: true, muted: true, src: `${url}/clip` });
  video.addEventListener("error", () => {
    if (!canStream) {
      say("This browser cannot play the clip here: download it.");
      item.querySelector("a > img")?.parentElement.removeAttribute("hidden");
      return video.remove();
    }
    const src = `${url}/clip.mjpeg?try=${Date.now()}`;
    const frames = image({ src, className: "clip", alt: `Clip: ${title}` }, async () => {
      if (frames.getAttribute("src")) say((await refusal(src))?.reason ?? "");
      frames.remove();
    });
    video.replaceWith(frames);
  });
  say("");
  item.querySelectorAll(".clip").forEach((old) => { old.removeAttribute("src"); old.remove(); });
  item.prepend(video);
  item.querySelector("a > img")?.parentElement.toggleAttribute("hidden", true);
}

$("day").addEventListener("change", () => {
  dueAt = -Infinity;
  showArchive();
});
$("all-events").addEventListener("click", () => {
  showsAll = true;
  const first = $("events").children.length;
  render();
  $("events").children[first]?.querySelector("a, button")?.focus();
});
