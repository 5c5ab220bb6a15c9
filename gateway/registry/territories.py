"""Which part of the country a user watches over: the beginning of a region's name.

Rules: empty is all of it. Provinces by their full names as in GB/T 2260, so that a code or a city alone,
which no institution's region begins with, is refused: its user would see nothing, and not know why.
"""

from gateway.errors import Problem, Words

PROVINCES = (
    "北京市", "天津市", "河北省", "山西省", "内蒙古自治区", "辽宁省", "吉林省",
    "黑龙江省", "上海市", "江苏省", "浙江省", "安徽省", "福建省", "江西省",
    "山东省", "河南省", "湖北省", "湖南省", "广东省", "广西壮族自治区", "海南省",
    "重庆市", "四川省", "贵州省", "云南省", "西藏自治区", "陕西省", "甘肃省",
    "青海省", "宁夏回族自治区", "新疆维吾尔自治区", "台湾省", "香港特别行政区", "澳门特别行政区",
)  # fmt: skip


def watched(text: str) -> str:
    """The territory that a text names. Problem `invalid` for what no region begins with."""
    if not any(text.startswith(province) or province.startswith(text) for province in PROVINCES):
        raise Problem(
            "invalid",
            Words("不是地区名称的开头", "no region begins so"),
            field="territory",
            value=text,
            expected=Words(
                "以省级行政区名称开头，如 浙江省宁波市；空表示全部",
                "the beginning of a region, its province first, such as 浙江省宁波市; empty for all",
            ),
        )
    return text
