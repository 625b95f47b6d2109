from tests.page.conftest import *
def test_signs_in(open_page):
    page = open_page()
    page.wait_for_timeout(500)
    page.screenshot(path="/tmp/s1.png")
    page.goto(page.url.split('#')[0]+"#/upload"); page.wait_for_timeout(400); page.screenshot(path="/tmp/s2.png")
    page.goto(page.url.split('#')[0]+"#/queue"); page.wait_for_timeout(1400); page.screenshot(path="/tmp/s3.png")
