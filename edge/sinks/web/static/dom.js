// Elements, texts and requests, for all scripts of the page.

export const CLOCK = { hour: "2-digit", minute: "2-digit" };

export const $ = (id) => document.getElementById(id);
export const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
export const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

// Changes nothing that is the same already: a screen reader reads a change aloud.
export function put(id, text, className = $(id).className) {
  if ($(id).textContent !== text) $(id).textContent = text;
  $(id).className = className;
}

export const element = (tag, className = "", textContent = "") =>
  Object.assign(document.createElement(tag), { className, textContent });

export function button(text, onclick, label = text) {
  const made = Object.assign(element("button", "", text), { type: "button", onclick });
  if (label !== text) made.setAttribute("aria-label", label);
  return made;
}

// A row of a table: its heading, and its cells; those of `marked` are bad.
export function row(title, values, marked = []) {
  const line = element("tr"), head = Object.assign(element("th", "", title), { scope: "row" });
  line.append(head, ...values.map((value, index) => element("td", marked[index] ? "bad" : "", String(value))));
  return line;
}

export function polygon(corners, className, tag = "polygon") {
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", tag);
  drawn.setAttribute("points", corners.map((corner) => corner.join(",")).join(" "));
  drawn.setAttribute("class", className);
  return drawn;
}

// Relative to the page, without the user and password that its address may contain: fetch refuses those.
const request = (path, options) => fetch(location.origin + location.pathname + path, options);

export const getJson = (path) =>
  request(path).then((response) => (response.ok ? response.json() : null)).catch(() => null);

// Returns the status and the reason with which the run refuses a path; null if it sends it, or does not answer.
export async function refusal(path) {
  try {
    const response = await request(path);
    if (!response.ok) return { status: response.status, reason: (await response.text()).trim() };
    response.body.cancel();
  } catch { /* no answer */ }
  return null;
}

let token = null;

// Returns whether the page has a password, which actions need; null if the run does not answer.
export async function canAct() {
  const answer = await getJson("api/token");
  token = answer?.token ?? null;
  return answer && token !== null;
}

// Asks the run for an action. Returns its answer; an answer with "error" says in one sentence why it was refused.
export async function act(action, values = {}) {
  try {
    if (token === null) await canAct();
    const response = await request(`api/${action}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-FireSeg-Token": token ?? "" },
      body: JSON.stringify(values),
    });
    if (response.ok) return await response.json();
    const text = await response.text();
    if (response.status === 403) token = null;  // the run has restarted: the next try asks for a new one
    try { return { error: JSON.parse(text).error }; } catch { return { error: text.trim() }; }
  } catch {
    return { error: "Connection lost: nothing was changed." };
  }
}

export function duration(seconds) {
  const s = Math.floor(seconds);
  const counts = [s / 86400, (s / 3600) % 24, (s / 60) % 60, s % 60].map(Math.floor);
  const parts = ["d", "h", "min", "s"].map((unit, index) => `${counts[index]} ${unit}`);
  const first = counts.findIndex((count) => count);
  return first < 0 ? "0 s" : parts.slice(first, first + 2).join(" ");
}
