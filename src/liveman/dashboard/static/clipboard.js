// Copies what is shown, and says so.

import { say } from "./status.js";

/** To the clipboard; where pages may not write to it, as without HTTPS, the text is selected. */
export async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    say("Copied.");
  } catch {
    if (source.select) source.select();
    else getSelection().selectAllChildren(source);
    say("Selected: copy it with the keyboard or the menu.");
  }
}
