"""The check of the answers finds what is wrong with one."""

import unittest

import boto3

import answers


class Answers(unittest.TestCase):
    def wrong(self, service, operation, body):
        model = boto3.client(service, region_name="us-east-1").meta.service_model.operation_model(operation)
        answers.wrong.clear()
        answers.check(model, {"status_code": 200, "body": body})
        found = list(answers.wrong)
        answers.wrong.clear()
        return found

    def test_members_types_and_words_of_json_answers_are_checked(self):
        good = b'{"clusters": [{"clusterName": "x", "activeServicesCount": 1}], "failures": []}'
        self.assertEqual(self.wrong("ecs", "DescribeClusters", good), [])
        for body in [b'{"cluster": []}', b'{"clusters": {}}', b'{"clusters": [{"activeServicesCount": "1"}]}', b'{"clusters": [{"name": "x"}]}']:
            self.assertEqual(len(self.wrong("ecs", "DescribeClusters", body)), 1, body)
        self.assertEqual(len(self.wrong("ecs", "ListTagsForResource", b'{"tags": null}')), 1)
        self.assertEqual(len(self.wrong("ecs", "ListAccountSettings", b'{"settings": [{"name": "speed"}]}')), 1)

    def test_elements_of_xml_answers_are_checked(self):
        answer = b"<DescribeRulesResponse><DescribeRulesResult><Rules><member>%s</member></Rules></DescribeRulesResult></DescribeRulesResponse>"
        self.assertEqual(self.wrong("elbv2", "DescribeRules", answer % b"<Priority>1</Priority><IsDefault>true</IsDefault>"), [])
        for part in [b"<Rank>1</Rank>", b"<IsDefault>yes</IsDefault>", b"<Actions><item></item></Actions>"]:
            self.assertEqual(len(self.wrong("elbv2", "DescribeRules", answer % part)), 1, part)
