"""The regions of Function Compute, and what people write instead of their ids."""

from __future__ import annotations

import difflib
import re

# Id -> its name in Chinese and in English; the page 开服地域 of Function Compute's documents, as of 2026-08.
REGIONS = {
    "cn-hangzhou": ("杭州", "Hangzhou"),
    "cn-shanghai": ("上海", "Shanghai"),
    "cn-qingdao": ("青岛", "Qingdao"),
    "cn-beijing": ("北京", "Beijing"),
    "cn-zhangjiakou": ("张家口", "Zhangjiakou"),
    "cn-huhehaote": ("呼和浩特", "Hohhot"),
    "cn-wulanchabu": ("乌兰察布", "Ulanqab"),
    "cn-shenzhen": ("深圳", "Shenzhen"),
    "cn-chengdu": ("成都", "Chengdu"),
    "cn-hongkong": ("香港", "Hong Kong"),
    "ap-southeast-1": ("新加坡", "Singapore"),
    "ap-southeast-3": ("吉隆坡", "Kuala Lumpur"),
    "ap-southeast-5": ("雅加达", "Jakarta"),
    "ap-southeast-7": ("曼谷", "Bangkok"),
    "ap-northeast-1": ("东京", "Tokyo"),
    "ap-northeast-2": ("首尔", "Seoul"),
    "eu-central-1": ("法兰克福", "Frankfurt"),
    "eu-west-1": ("伦敦", "London"),
    "us-east-1": ("弗吉尼亚", "Virginia"),
    "us-west-1": ("硅谷", "Silicon Valley"),
    "me-central-1": ("利雅得", "Riyadh"),
    "cn-shanghai-finance-1": ("上海金融云", "Shanghai Finance"),
    "cn-wulanchabu-acdr-1": ("乌兰察布专属云", "Ulanqab Dedicated"),
    "cn-wulanchabu-gic-1": ("乌兰察布行业云", "Ulanqab Industry"),
}
MOST_CHARACTERS = 100  # of what is looked at
# As the console calls them, often without the city.
NUMBERED = {
    "华东1": "cn-hangzhou",
    "华东2": "cn-shanghai",
    "华北1": "cn-qingdao",
    "华北2": "cn-beijing",
    "华北3": "cn-zhangjiakou",
    "华北5": "cn-huhehaote",
    "华北6": "cn-wulanchabu",
    "华南1": "cn-shenzhen",
    "西南1": "cn-chengdu",
    "马来西亚": "ap-southeast-3",
    "印度尼西亚": "ap-southeast-5",
    "泰国": "ap-southeast-7",
    "日本": "ap-northeast-1",
    "韩国": "ap-northeast-2",
    "德国": "eu-central-1",
    "英国": "eu-west-1",
}


def called(region: str) -> str:
    """The region with its names, as people know it: 'cn-hangzhou（杭州，Hangzhou）'."""
    return f"{region}（{'，'.join(REGIONS[region])}）" if region in REGIONS else region


def meant(text: str) -> tuple[str, bool]:
    """The id that somebody means who wrote this, '' if it is not clear; and whether it is a zone of that region."""
    plain = re.sub(r"[\s_]+", "-", text[:MOST_CHARACTERS].strip().lower())
    plain = re.sub(r"^https?://|/.*$", "", plain)
    plain = re.sub(r"^(oss|fc)-|(-internal)?(\.\w+)?\.aliyuncs\.com$|-internal$", "", plain)
    if plain in REGIONS:
        return plain, False
    zone = re.fullmatch(r"([a-z]+(?:-[a-z0-9]+)*?)-?[a-z]", plain)
    if zone and zone[1] in REGIONS:
        return zone[1], True
    words = re.sub(r"[^a-z]", "", text[:MOST_CHARACTERS].lower())
    for region, (chinese, english) in REGIONS.items():
        if chinese in text or english.lower().replace(" ", "") in words or plain == region.partition("-")[2]:
            return region, False
    numbered = re.sub(r"\s", "", text)
    for name, region in NUMBERED.items():
        if name in numbered:
            return region, False
    alike = difflib.get_close_matches(plain, REGIONS, 1, 0.8)
    return (alike[0] if alike else ""), False


def in_endpoint(address: str) -> str:
    """The region in an address of OSS or Function Compute: 'https://oss-cn-hangzhou-internal.aliyuncs.com', else ''."""
    host = re.sub(r"^\w+://|[:/].*$", "", address.strip().lower())
    found = re.search(r"(?:^|\.)(?:oss-)?([a-z]+-[a-z0-9-]+?)(?:-internal)?(?:\.oss|\.fc)?\.aliyuncs\.com$", host)
    return found[1] if found and "accelerate" not in host else ""
