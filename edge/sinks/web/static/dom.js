// Elements, texts and requests, for all scripts of the page.

export const CLOCK = { hour: "2-digit", minute: "2-digit" };

export const $ = (id) => document.getElementById(id);
export const put = (id, text) => { $(id).textContent = text; };
export const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
export const element = (tag, className = "", textContent = "") =>
  Object.assign(document.createElement(tag), { className, textContent });

const FOLDER = location.pathname.replace(/\/$/, "");  // not empty behind Home Assistant's ingress
// Its proxy drops the boundary of multipart streams, so that no browser can show them.
export const canStream = !FOLDER;

// Without the user and password that a page's address may contain: fetch refuses those.
const request = (path, options) => fetch(location.origin + FOLDER + path, options);

export const getJson = (path) =>
  request(path).then((response) => (response.ok ? response.json() : null)).catch(() => null);

let token = null;

// Returns whether the page has a password, which actions need; null if the run does not answer.
export async function canAct() {
  const answer = await getJson("/api/token");
  token = answer?.token ?? null;
  return answer && token !== null;
}

// Asks the run for an action. Returns its answer; an answer with "error" says in one sentence why it was refused.
export async function act(action, values = {}) {
  try {
    token ??= (await getJson("/api/token"))?.token ?? null;
    const response = await request(`/api/${action}`, {
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
