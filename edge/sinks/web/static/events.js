// Fires and camera problems: those of this run, and those on disk by day, with picture, clip, verdict and download.

import { $, act, canStream, duration, element, getJson, percent } from "./dom.js";

const POLL_MS = 10000;  // files follow their event: the clip is written when it ends
const PICTURES = ["peak", "still", "start", "end", "problem", "recovered"];
const VERDICTS = { "fire": "Fire", "not a fire": "Not a fire" };

let recent = [];          // fires of this run, from memory
let archived = [];        // events of the chosen day, from disk
let hasArchive = false;
let name = (zone) => zone;
let loadedAt = -Infinity;
const shown = new Map();  // by id: the item, and what it shows

export function showEvents(events, zoneName, onDisk) {
  [recent, name, hasArchive, loadedAt] = [events, zoneName, onDisk, -Infinity];
  if (!hasArchive) render();
}

// Called with each state.
export async function showArchive() {
  if (!hasArchive || performance.now() - loadedAt < POLL_MS) return;
  loadedAt = performance.now();
  await load();
}

async function load() {
  const days = await getJson("/api/archive");
  if (!days) return render();
  const isNewest = $("day").selectedIndex <= 0, chosen = $("day").value;
  $("day").replaceChildren(...days.map(({ day, fires, camera_problems }) => {
    const counts = [[fires, "fire"], [camera_problems, "camera problem"]].filter(([count]) => count);
    const text = counts.map(([count, what]) => `${count} ${what}${count > 1 ? "s" : ""}`).join(", ");
    return Object.assign(element("option", "", `${day}: ${text}`), { value: day });
  }));
  if (!isNewest) $("day").value = chosen;
  if ($("day").selectedIndex < 0) $("day").selectedIndex = 0;
  $("day-label").hidden = !days.length;
  const events = days.length ? await getJson(`/api/archive?day=${encodeURIComponent($("day").value)}`) : [];
  if (events) archived = events;
  render();
}

function render() {
  const isNewest = $("day").selectedIndex <= 0;
  const known = new Map(recent.map((fire) => [fire.id, fire]));
  const events = archived.map((event) => ({ ...event, ...live(known.get(event.id)), onDisk: true }));
  const ids = new Set(archived.map(({ id }) => id));
  if (isNewest) events.unshift(...recent.filter(({ id }) => !ids.has(id)).map((fire) => ({ ...fire, type: "fire" })));
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
  $("no-events").textContent = hasArchive ? "None." : "None since the run started.";
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
    const link = element("a"), image = element("img");
    link.href = `${url}/${kind}.jpg`;
    Object.assign(image, { loading: "lazy", width: 320, height: 240, alt: title });
    image.src = onDisk ? `${link.href}?thumbnail=1` : link.href;
    link.append(image);
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

function buttons({ id, type, clip, verdict }, item, url, title) {
  const row = element("div", "toggles"), problem = element("p", "bad");
  problem.setAttribute("role", "alert");
  const button = (text, press) => {
    const made = element("button", "", text);
    made.addEventListener("click", () => press(made));
    row.append(made);
    return made;
  };
  if (clip) button("Play clip", () => play(item, url, title));
  const choices = type === "fire" ? Object.entries(VERDICTS).map(([value, text]) => {
    const choice = button(text, async (made) => {
      const isPressed = made.getAttribute("aria-pressed") === "true";
      const answer = await act("verdict", { id, verdict: isPressed ? "" : value });
      problem.textContent = answer.error ?? "";
      if (!answer.error) choices.forEach((each) => each.setAttribute("aria-pressed", each === made && !isPressed));
    });
    choice.setAttribute("aria-pressed", verdict === value);
    return choice;
  }) : [];
  row.append(Object.assign(element("a", "", "Download"), { href: `${url}.zip`, download: "" }), problem);
  return row;
}

// A browser that cannot play the file gets its frames from the server.
function play(item, url, title) {
  const video = Object.assign(element("video", "clip"), { controls: true, autoplay: true, muted: true, src: `${url}/clip` });
  video.addEventListener("error", () => {
    if (!canStream) return video.replaceWith(element("p", "clip bad", "This browser cannot play the clip here: download it."));
    const frames = element("img", "clip");
    Object.assign(frames, { alt: `Clip: ${title}`, src: `${url}/clip.mjpeg?try=${Date.now()}` });
    video.replaceWith(frames);
  });
  item.querySelectorAll(".clip").forEach((old) => { old.removeAttribute("src"); old.remove(); });
  item.prepend(video);
  item.querySelector("a > img")?.parentElement.toggleAttribute("hidden", true);
}

$("day").addEventListener("change", load);
