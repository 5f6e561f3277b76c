"""Spam protection in a real browser: no form is lost, and the API's page does what it says."""

import re
from collections.abc import AsyncIterator, Callable

import pytest
from playwright.async_api import Browser, Page, expect

from reach.people.link_requests import answer_some
from reach.settings import Settings
from tests.support.people import everybody, opened_too_long_ago, operator, owed
from tests.support.processes.reach import Reach, running_reach
from tests.support.servers.browser import visiting

#: Fill the form in as a password manager does that knows of no field but the person's, and send it
#: before a person could have.
FILL_AT_ONCE = """
    for (const [name, text] of Object.entries({name: "Ada Lovelace", email: "ada@example.com"}))
        document.forms[0].elements[name].value = text;
    document.forms[0].requestSubmit();
"""
WIDEST = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
TELEPHONE = {"width": 360, "height": 740}


@pytest.fixture(params=[False, True], ids=["no-proof", "proof"])
async def here(
    request: pytest.FixtureRequest, sqlite: str, make_settings: Callable[..., Settings]
) -> AsyncIterator[Reach]:
    """Reach whose form takes a minute to fill in, with the proof of work and without."""
    settings = make_settings(database_url=sqlite, form_min_seconds=60, altcha=request.param)
    async with running_reach(settings) as reach:
        yield reach


async def was_asked_again(page: Page) -> None:
    """Wait for the form that came back, with all that was typed."""
    await expect(page.get_by_role("alert")).to_contain_text("Almost done")
    await expect(page.get_by_label("Your name")).to_have_value("Ada Lovelace")
    await expect(page.get_by_label("Your email address")).to_have_value("ada@example.com")
    assert (await page.title()).startswith("Once more: ")
    assert await page.evaluate(WIDEST)


async def test_a_form_that_fills_itself_in_is_not_lost(here: Reach, browser: Browser) -> None:
    """It comes back; one press of its one button, in the same moment, and they are signed up."""
    async with visiting(browser, viewport=TELEPHONE) as visit:
        page = visit.page
        await page.goto(here.settings.origin)
        await page.evaluate(FILL_AT_ONCE)
        await was_asked_again(page)
        assert await everybody(await operator(here)) == []
        await page.get_by_role("button").click()
        await page.wait_for_url("**/check-your-inbox")
    assert [one["name"] for one in await everybody(here.http)] == ["Ada Lovelace"]
    assert len(await owed(here.http)) == 1


async def test_a_form_left_open_is_not_lost(here: Reach, browser: Browser) -> None:
    """For more than a day; or from before an upgrade, with its trap filled in by a program."""
    for spoil, value in (("started", opened_too_long_ago(here.settings)), ("website", "https://x")):
        async with visiting(browser) as visit:
            page = visit.page
            await page.goto(here.settings.origin)
            await page.evaluate(
                """([name, value]) => {
                    const input = document.createElement("input");
                    Object.assign(input, {name, value, type: "hidden"});
                    document.forms[0].elements[name]?.remove();
                    document.forms[0].append(input);
                }""",
                [spoil, value],
            )
            await page.get_by_label("Your name").fill("Ada Lovelace")
            await page.get_by_label("Your email address").fill("ada@example.com")
            await page.get_by_role("button").click()
            await was_asked_again(page)
            await page.get_by_role("button").click()
            await page.wait_for_url("**/check-your-inbox")
    assert len(await everybody(await operator(here))) == 1


async def test_the_browser_fills_everything_but_the_trap(here: Reach, browser: Browser) -> None:
    """Chromium's own autofill, asked for a whole address, leaves the trap alone."""
    async with visiting(browser) as visit:
        page = visit.page
        await page.goto(here.settings.origin)
        cdp = await page.context.new_cdp_session(page)
        fields = {"NAME_FULL": "Ada Lovelace", "EMAIL_ADDRESS": "ada@example.com"}
        more = {"COMPANY_NAME": "ACME", "ADDRESS_HOME_CITY": "London", "ADDRESS_HOME_ZIP": "N1"}
        given = [{"name": name, "value": text} for name, text in {**fields, **more}.items()]
        await cdp.send("Autofill.enable")
        await cdp.send("Autofill.setAddresses", {"addresses": [{"fields": given}]})
        document = await cdp.send("DOM.getDocument")
        found = await cdp.send(
            "DOM.querySelector", {"nodeId": document["root"]["nodeId"], "selector": "#name"}
        )
        node = await cdp.send("DOM.describeNode", {"nodeId": found["nodeId"]})
        await page.get_by_label("Your name").focus()
        await cdp.send(
            "Autofill.trigger",
            {"fieldId": node["node"]["backendNodeId"], "address": {"fields": given}},
        )
        await expect(page.get_by_label("Your email address")).to_have_value("ada@example.com")
        assert await page.locator("[name=motto]").input_value() == ""
        await expect(page.locator("[name=motto]")).not_to_be_in_viewport()


@pytest.mark.parametrize(
    ("path", "template"), [("/v1/signups", "welcome"), ("/v1/links", "manage-link")]
)
async def test_the_apis_page_does_what_it_says(
    sqlite: str, make_settings: Callable[..., Settings], browser: Browser, path: str, template: str
) -> None:
    """Try it out, Execute, nothing typed: 202, and the email that it speaks of is owed."""
    async with running_reach(make_settings(database_url=sqlite)) as reach:
        if template == "manage-link":
            await reach.sign_up()
        async with visiting(browser) as visit:
            page = visit.page
            await page.goto(f"{reach.settings.origin}/docs")
            block = page.locator(".opblock-post").filter(has=page.locator(f'[data-path="{path}"]'))
            await block.locator(".opblock-summary-control").click()
            text = await block.locator("textarea.body-param__text").input_value()
            assert "ada@example.com" in text
            assert not re.search("motto|website|started|altcha", text)
            await block.get_by_role("button", name="Execute").click()
            status = block.locator(".live-responses-table .response-col_status").last
            await expect(status).to_contain_text("202")
        await reach.database.write(answer_some, reach.settings)
        http = await operator(reach)
        assert template in [message["template"] for message in await owed(http)]
        assert [one["email"] for one in await everybody(http)] == ["ada@example.com"]
