// Quiet places, drawn over the picture and listed, and suggested ignored areas.

import { $, act, button, counted, element, getJson, percent, polygon, put } from "./dom.js";

let revision = null;

// Asks for the places when they have changed, and after a reconnection.
export async function show(state, zoneName) {
  if (state.quiet_revision === revision) return;
  const asked = revision = state.quiet_revision;
  const quiet = await getJson("api/quiet-places");
  if (!quiet) return forgetRevision();
  if (asked === revision) showQuiet(quiet, zoneName);
}

export function forgetRevision() { revision = null; }

function showQuiet({ places, suggestions }, zoneName) {
  const counts = [counted(places.length, "place"), counted(suggestions.length, "suggestion")];
  put("quiet-note", counts.filter((text) => !text.startsWith("0")).join(", ") || "none");
  $("quiet-section").hidden = !places.length && !suggestions.length && !$("quiet-answer").textContent;
  $("quiet-places").replaceChildren(...places.map(({ id, zone, share, repeats, expires }) => {
    const until = new Date(expires).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
    const times = repeats > 1 ? `, not a fire ${repeats} times` : "";
    return item(
      `${zoneName(zone) || "Whole frame"}: quiet inside the dashed blue outline until ${until}`,
      `An alarm above ${percent(2 * share)} of the frame, or if it moves or looks different${times}.`,
      ask("Remove", "Removed. Fires there raise alarms again.", "forget", { id }),
    );
  }));
  $("suggestions").replaceChildren(...suggestions.map(({ id, polygon: corners, candidates, days }) => item(
    "Ignore the area with the dotted yellow outline?",
    `${counted(candidates, "possible fire")} in ${days === 1 ? "one day" : `${days} days`}, never confirmed as fire.`,
    ask("Ignore this area", "Ignored. The area is saved in the configuration.", "ignore", { polygon: corners }),
    ask("Dismiss", "Dismissed. The area is not suggested again.", "dismiss", { id }),
  )));
  $("quiet-areas").replaceChildren(
    ...places.flatMap(({ polygons }) => polygons.map((corners) => polygon(corners, "quiet"))),
    ...suggestions.map(({ polygon: corners }) => polygon(corners, "suggested")),
  );
}

function item(title, note, ...buttons) {
  const line = element("li"), row = element("p", "buttons");
  row.append(...buttons);
  line.append(element("p", "", title), element("p", "note", note), row);
  return line;
}

function ask(text, done, action, values) {
  const made = button(text, async () => {
    made.disabled = true;
    const { error } = await act(action, values);
    put("quiet-answer", error ?? done, error ? "bad" : "note");
    $("quiet-section").hidden = false;  // also if that was the last line
    made.disabled = false;
  });
  return made;
}
