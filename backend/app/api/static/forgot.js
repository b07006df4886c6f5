// Asks for the mail that lets a person set a new password. The answer is the same for every address.
"use strict";

const form = document.getElementById("ask");
const button = document.getElementById("send");
const outcome = document.getElementById("outcome");

const told = {
  202: "If this address has an account, a mail is on its way. Its link works for 30 minutes.",
  422: "This is not an email address.",
  429: "There were too many attempts. Please try again later.",
};

async function ask(event) {
  event.preventDefault(); // the policy of the page lets no form be sent; the script asks instead
  button.disabled = true;
  outcome.textContent = "One moment…";
  let status = 0;
  try {
    const answer = await fetch("../api/v1/auth/password/forgot", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ email: form.elements.email.value }),
      credentials: "omit",
      cache: "no-store",
    });
    status = answer.status;
  } catch {
    // No answer at all: the network is away, which the text below says.
  }
  form.hidden = status === 202;
  button.disabled = false;
  outcome.textContent = told[status] || "That did not work. Please check your connection and try again.";
}

button.disabled = false;
form.addEventListener("submit", ask);
