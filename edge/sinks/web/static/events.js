// The list of recent fires.

import { $, duration, element, percent } from "/dom.js";

export function showEvents(events, zoneName) {
  $("events").replaceChildren(...events.map((event) => eventItem(event, zoneName)));
  $("no-events").hidden = events.length > 0;
}

function eventItem({ id, zone, time, drill, active, duration_s, peak_share, silence, pictures }, zoneName) {
  const item = element("li", active ? "fire" : "");
  const kind = ["peak", "still", "start", "end"].find((each) => pictures.includes(each));
  if (kind) {
    const link = element("a"), image = element("img");
    link.href = image.src = `/events/${encodeURIComponent(id)}/${kind}.jpg`;
    image.alt = `${drill ? "Fire drill" : "Fire"} in ${zoneName(zone) || "the frame"}`;
    link.append(image);
    item.append(link);
  }
  const word = drill ? "Fire drill" : "Fire";
  const title = zoneName(zone) ? `${word}: ${zone}` : word;
  const course = active ? "ongoing" : `lasted ${duration(duration_s)}`;
  item.append(
    element("p", "", `${title}, ${new Date(time).toLocaleString()}`),
    element("p", "note", `${course}, peak fire area ${percent(peak_share)}${silence ? `, ${silence}` : ""}`),
  );
  return item;
}
