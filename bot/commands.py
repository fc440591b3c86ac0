"""The commands: what each does, and what it says."""

import dataclasses
import re

from bot import VERSION, sentences
from bot.deadline import LOAD_SHARE, Run
from bot.dingtalk.message import OFF, Command
from bot.dingtalk.parts import send_link
from bot.oss.bucket import OssFailure
from bot.oss.choices import Choices, read_choices, write_choices
from bot.oss.commit import Reply
from bot.oss.journal import Journal
from bot.settings import ReplySettings

MOST_PROMPT_CHARACTERS = 2000  # of a role


def reply_to_command(command: Command, in_group: bool, journal: Journal, run: Run) -> Reply:
    """Do what the command says."""
    if command.name == "help":
        return show_help(in_group, run.settings)
    if command.name == "clear":  # what was said is shown to the model no more, and deleted when this is committed
        return Reply("cleared", sentences.CLEARED, clear=True)
    if journal.problem and not journal.denied:  # nobody knows what was chosen before
        return Reply("not kept", sentences.CHOICE_NOT_KEPT.format(problem=journal.problem))
    try:
        choices = read_choices(journal, run.share(LOAD_SHARE))
        if command.name == "status":
            return status(journal, choices, run.settings)
        if command.name == "model":
            return choose_model(command.argument, choices, journal, run)
        return choose_prompt(command.argument, choices, journal, run)
    except OssFailure as failure:
        return Reply("not kept", sentences.CHOICE_NOT_KEPT.format(problem=failure))


def show_help(in_group: bool, settings: ReplySettings) -> Reply:
    """The commands; in a private chat a tap sends each."""
    if in_group or settings.reply_format == "text":
        return Reply("help", sentences.HELP)
    return Reply("help", re.sub(r"(?m)^\\\w+", lambda command: f"- {send_link(command[0])}", sentences.HELP))


def status(journal: Journal, choices: Choices, settings: ReplySettings) -> Reply:
    """What a person may want to know of the bot."""
    words = sentences.STATUS.format(
        model=with_choices(settings, choices).chatgpt_model[0],
        turns=len(journal.turns),
        most=settings.history_length,
        prompt=sentences.PROMPT_ON if choices.prompt else sentences.PROMPT_OFF,
        pictures=sentences.PICTURES_ON if settings.dingtalk_app_key else sentences.PICTURES_OFF,
        version=VERSION,
    )
    return Reply("status", words)


def choose_model(name: str, choices: Choices, journal: Journal, run: Run) -> Reply:
    """Choose one of the models by its number or its name, '2' or 'GPT-6-luna'; without one, show them."""
    models = run.settings.chatgpt_model
    if not name:
        chosen = with_choices(run.settings, choices).chatgpt_model[0]
        return Reply("models", sentences.MODELS.format(models=list_of(models, chosen)))
    named = {model.lower(): model for model in models}
    numbered = {str(number): model for number, model in enumerate(models, 1)}
    model = {**named, **numbered}.get(name.lower())
    if not model:
        return Reply("unknown model", sentences.UNKNOWN_MODEL.format(models=list_of(models, "")))
    said = sentences.MODEL_CHOSEN.format(model=model)
    return keep(choices._replace(model=model if model != models[0] else ""), said, journal, run)


def list_of(models: tuple[str, ...], chosen: str) -> str:
    """The models with their numbers, a line each."""
    shown = [model + (sentences.CHOSEN if model == chosen else "") for model in models]
    return "\n".join(f"{number}. {model}" for number, model in enumerate(shown, 1))


def choose_prompt(prompt: str, choices: Choices, journal: Journal, run: Run) -> Reply:
    """Give the conversation a role, or take it away; without one, show it."""
    if len(prompt) > MOST_PROMPT_CHARACTERS:
        words = sentences.PROMPT_TOO_LONG.format(most=MOST_PROMPT_CHARACTERS, count=len(prompt))
        return Reply("prompt too long", words)
    if prompt:
        off = prompt == OFF
        said = sentences.PROMPT_TAKEN_AWAY if off else sentences.PROMPT_SET
        return keep(choices._replace(prompt="" if off else prompt), said, journal, run)
    if choices.prompt:
        return Reply("prompt", sentences.PROMPT_IS.format(prompt=choices.prompt), private=True)
    return Reply("prompt", sentences.PROMPT_IS_NOT_SET)


def keep(choices: Choices, said: str, journal: Journal, run: Run) -> Reply:
    """Keep what is chosen from now on; the reply's line in the journal says whether there is anything."""
    write_choices(journal, choices, run.share(LOAD_SHARE))
    return Reply("chosen", said, settings=any(choices))


def with_choices(settings: ReplySettings, choices: Choices) -> ReplySettings:
    """The settings as the conversation has chosen them: its model first, its role below SYSTEM_PROMPT."""
    models = settings.chatgpt_model
    model = choices.model if choices.model in models else models[0]  # the deployer may have taken it off the list
    prompt = "\n\n".join(filter(None, (settings.system_prompt, choices.prompt)))
    return dataclasses.replace(settings, chatgpt_model=(model,), system_prompt=prompt or None)
