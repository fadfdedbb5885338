// Quiet places, drawn over the picture and listed, and suggested ignored areas.

import { $, act, element, getJson, percent, put } from "./dom.js";

let revision = null;

// Asks for the places when they have changed, and after a reconnection.
export async function show(state, zoneName) {
  if (state.quiet_revision === revision) return;
  const asked = revision = state.quiet_revision;
  const quiet = await getJson("/api/quiet-places");
  if (!quiet) return forgetRevision();
  if (asked === revision) showQuiet(quiet, zoneName);
}

export function forgetRevision() { revision = null; }

function showQuiet({ places, suggestions }, zoneName) {
  $("quiet-section").hidden = !places.length && !suggestions.length;
  $("quiet-places").replaceChildren(...places.map(({ id, zone, share, repeats, expires }) => {
    const until = new Date(expires).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
    const times = repeats > 1 ? `, not a fire ${repeats} times` : "";
    return item(
      `${zoneName(zone) || "Whole frame"}: quiet inside the dashed blue outline until ${until}`,
      `An alarm above ${percent(2 * share)} of the frame, or if it moves or looks different${times}.`,
      [["Remove", () => act("forget", { id })]],
    );
  }));
  $("suggestions").replaceChildren(...suggestions.map(({ id, polygon, candidates, days }) => item(
    "Ignore the area with the dotted yellow outline?",
    `${candidates} possible fires in ${days === 1 ? "one day" : `${days} days`}, never confirmed as fire.`,
    [["Ignore this area", () => act("ignore", { polygon })], ["Dismiss", () => act("dismiss", { id })]],
  )));
  $("quiet-areas").replaceChildren(
    ...places.flatMap(({ polygons }) => polygons.map((polygon) => drawn(polygon, "quiet"))),
    ...suggestions.map(({ polygon }) => drawn(polygon, "suggested")),
  );
}

function item(title, note, buttons) {
  const line = element("li"), row = element("p", "buttons");
  row.append(...buttons.map(([text, ask]) => {
    const button = Object.assign(element("button", "", text), { type: "button" });
    button.addEventListener("click", async () => {
      button.disabled = true;
      const { error } = await ask();
      put("quiet-error", error ?? "");
      button.disabled = false;
    });
    return button;
  }));
  line.append(element("p", "", title), element("p", "note", note), row);
  return line;
}

function drawn(corners, kind) {
  const polygon = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
  polygon.setAttribute("points", corners.map((corner) => corner.join(",")).join(" "));
  polygon.setAttribute("class", kind);
  return polygon;
}

$("show-areas").addEventListener("change", () => {
  $("quiet-areas").toggleAttribute("hidden", !$("show-areas").checked);
});
